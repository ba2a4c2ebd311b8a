// SPDX-License-Identifier: Apache-2.0
import Glibc
@testable import SocketEngine
import Testing

extension KernelTests {
  /// Where io_uring is refused, for real: in a process of its own, the same calls work on epoll,
  /// and the reason is told.
  @Suite struct Refusals {
    private func expectReadiness(
      _ code: String, _ found: [String: String], sourceLocation: SourceLocation = #_sourceLocation
    ) {
      #expect(found["kind"] == "readiness", "\(found)", sourceLocation: sourceLocation)
      #expect(found["code"] == code, "\(found)", sourceLocation: sourceLocation)
      #expect(found["second"] == "readiness", "\(found)", sourceLocation: sourceLocation)
      #expect(found["received"] == "1", "\(found)", sourceLocation: sourceLocation)
      #expect(found["sockets"] == "0", "\(found)", sourceLocation: sourceLocation)
      #expect(found["signal"] == nil, "\(found)", sourceLocation: sourceLocation)
    }

    @Test func aContainersProfileSaysNotPermitted() throws {
      let found = try ProbeTool.run(["refuse=\(EPERM)"])
      expectReadiness("notPermitted", found)
      #expect(found["driver"]?.contains("seccomp") == true)
    }

    @Test func aSandboxHasNoSuchCall() throws {
      expectReadiness("notImplemented", try ProbeTool.run(["refuse=\(ENOSYS)"]))
    }

    /// Some sandboxes end the process at the first such call: who says `readiness` makes none.
    @Test func aSandboxThatKillsIsNeverAsked() throws {
      expectReadiness("environment", try ProbeTool.run(["refuse=kill"], environment: "readiness"))
      expectReadiness("requested", try ProbeTool.run(["refuse=kill", "choice=readiness"]))
      // The restriction is real: who asks is ended.
      #expect(try ProbeTool.run(["refuse=kill"])["signal"] == "\(SIGSYS)")
    }

    @Test(.enabled(if: ProbeTool.isRoot, "only root can become another user"))
    func noLockedMemory() throws {
      expectReadiness(
        "outOfLockedMemory", try ProbeTool.run(["memlock=4096", "user=\(ProbeTool.ownUser)"]))
    }

    /// What the kernel says without memory or files for a ring; anybody can be told so.
    @Test(arguments: [
      (ENOMEM, "outOfLockedMemory"), (ENFILE, "outOfDescriptors"), (EMFILE, "outOfDescriptors"),
    ])
    func noRoomForARing(error: Int32, code: String) throws {
      expectReadiness(code, try ProbeTool.run(["refuse=\(error)"]))
      #expect(
        try ProbeTool.run(["refuse=\(error)", "choice=io_uring"])["error"] == "ioUringUnavailable")
    }

    /// 64 KiB hold a ring of 64 entries eight times, but not one of 4,096.
    @Test(
      .enabled(
        if: ProbeTool.isRoot && ProbeTool.machineHasRing,
        "only root can become another user; and io_uring must be allowed"))
    func littleLockedMemoryGetsASmallerRing() throws {
      let found = try ProbeTool.run(["memlock=65536", "user=\(ProbeTool.ownUser)", "entries=4096"])
      #expect(found["kind"] == "io_uring", "\(found)")
      #expect(found["received"] == "1", "\(found)")
    }

    @Test func whoInsistsOnTheRingGetsAnErrorThatSaysWhy() throws {
      for found in [
        try ProbeTool.run(["refuse=\(EPERM)"], environment: "io_uring"),
        try ProbeTool.run(["refuse=\(EPERM)", "choice=io_uring"]),
      ] {
        #expect(found["error"] == "ioUringUnavailable", "\(found)")
        #expect(found["description"]?.contains("seccomp") == true, "\(found)")
      }
    }

    /// The switch is the whole machine's: only where the machine is the test's own.
    @Test(
      .enabled(
        if: ProbeTool.isRoot && getenv("MESSAGE_SOCKETS_TEST_SYSCTL") != nil,
        "turns io_uring off for the machine: set MESSAGE_SOCKETS_TEST_SYSCTL where that harms nobody"
      ))
    func theSystemControlForbidsIt() throws {
      let path = "/proc/sys/kernel/io_uring_disabled"
      let descriptor = open(path, O_RDWR | O_CLOEXEC)
      try #require(descriptor >= 0, "no such control: Linux 6.6 has it")
      defer { close(descriptor) }
      var before: UInt8 = 0
      try #require(pread(descriptor, &before, 1, 0) == 1)
      defer { _ = pwrite(descriptor, &before, 1, 0) }
      try #require(pwrite(descriptor, "2", 1, 0) == 1)
      expectReadiness("notPermitted", try ProbeTool.run([]))
    }
  }
}

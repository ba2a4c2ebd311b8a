// SPDX-License-Identifier: Apache-2.0
import CProcessRestrictions
import Glibc
import SystemPackage
import Testing

@testable import SocketEngine

extension KernelTests {
  /// io_uring is really refused, in a separate process: the same calls work on epoll, and the
  /// reason is reported.
  @Suite struct Refusals {
    private func expectEpoll(
      _ code: String, _ found: [String: String], sourceLocation: SourceLocation = #_sourceLocation
    ) {
      #expect(found["kind"] == "epoll", "\(found)", sourceLocation: sourceLocation)
      #expect(found["code"] == code, "\(found)", sourceLocation: sourceLocation)
      #expect(found["second"] == "epoll", "\(found)", sourceLocation: sourceLocation)
      #expect(found["received"] == "1", "\(found)", sourceLocation: sourceLocation)
      #expect(found["sockets"] == "0", "\(found)", sourceLocation: sourceLocation)
      #expect(found["signal"] == nil, "\(found)", sourceLocation: sourceLocation)
    }

    @Test func aContainersProfileSaysNotPermitted() throws {
      let found = try ProbeTool.run(["refuse=\(EPERM)"])
      expectEpoll("notPermitted", found)
      #expect(found["driver"]?.contains("seccomp") == true)
    }

    @Test func aSandboxHasNoSuchCall() throws {
      expectEpoll("notImplemented", try ProbeTool.run(["refuse=\(ENOSYS)"]))
    }

    /// Some sandboxes end the process at the first io_uring call. The choice `epoll` makes none.
    @Test func aSandboxThatKillsIsNeverAsked() throws {
      expectEpoll("environment", try ProbeTool.run(["refuse=kill"], environment: "epoll"))
      expectEpoll("requested", try ProbeTool.run(["refuse=kill", "choice=epoll"]))
      // The restriction is real: a process that makes such a call is ended.
      #expect(try ProbeTool.run(["refuse=kill"])["signal"] == "\(SIGSYS)")
    }

    @Test(
      .enabled(if: ProbeTool.isRoot, "only root can become another user"),
      .enabled(
        if: cpr_kernel_counts_rings() == 1, "this kernel does not count rings as locked memory"))
    func noLockedMemory() throws {
      expectEpoll(
        "outOfLockedMemory", try ProbeTool.run(["memlock=4096", "user=\(ProbeTool.ownUser)"]))
    }

    /// The errors that the kernel returns if there is no memory or descriptor for a ring; any
    /// process can get them.
    @Test(arguments: [
      (ENOMEM, "outOfLockedMemory"), (ENFILE, "outOfDescriptors"), (EMFILE, "outOfDescriptors"),
    ])
    func noRoomForARing(error: Int32, code: String) throws {
      expectEpoll(code, try ProbeTool.run(["refuse=\(error)"]))
      #expect(
        try ProbeTool.run(["refuse=\(error)", "choice=io_uring"])["error"] == "ioUringUnavailable")
    }

    /// 64 KiB are enough for eight rings of 64 entries, but not for one of 4,096.
    @Test(
      .enabled(
        if: ProbeTool.isRoot && ProbeTool.machineHasRing,
        "only root can become another user; and io_uring must be allowed"))
    func littleLockedMemoryGetsASmallerRing() throws {
      let found = try ProbeTool.run(["memlock=65536", "user=\(ProbeTool.ownUser)", "entries=4096"])
      #expect(found["kind"] == "io_uring", "\(found)")
      #expect(found["received"] == "1", "\(found)")
    }

    /// The first loop finds some free descriptors, but maybe too few for the driver, the ring or
    /// the probe; the second is made when there are enough.
    @Test(.enabled(if: ProbeTool.machineHasRing, "io_uring is refused here"))
    func aShortageOfDescriptorsPasses() throws {
      var firsts: [String: Int] = [:]
      for free in 0..<9 {
        let found = try ProbeTool.run(["shortage=\(free)"])
        #expect(found["second"] == "io_uring", "\(found)")
        #expect(found["kind"] == "io_uring", "\(found)")
        #expect(found["received"] == "1", "\(found)")
        let first = try #require(found["first"])
        if first == "epoll" { #expect(found["reason"] == "outOfDescriptors", "\(found)") }
        firsts[first, default: 0] += 1
      }
      // The possible outcomes: no loop, a loop whose ring could not be set up or probed, and a loop
      // on a ring.
      #expect(Set(firsts.keys) == ["outOfDescriptors", "epoll", "io_uring"], "\(firsts)")
    }

    /// The probe's descriptor exceeds the number allowed in unread messages.
    @Test(
      .enabled(
        if: ProbeTool.isRoot && ProbeTool.machineHasRing,
        "only root can become another user; and io_uring must be allowed"))
    func descriptorsOnTheirWayAreReceivedSomeTime() throws {
      let found = try ProbeTool.run([
        "descriptors=64", "user=\(ProbeTool.ownUser)", "shortage=in-flight",
      ])
      #expect(found["first"] == "epoll", "\(found)")
      #expect(found["reason"] == "outOfDescriptors", "\(found)")
      #expect(found["kind"] == "io_uring", "\(found)")
      #expect(found["received"] == "1", "\(found)")
    }

    @Test func onlyWhatCannotPassIsRemembered() {
      typealias Reason = IOLoop.Driver.Reason
      let passing: [Errno] = [
        .tooManyReferences, .tooManyOpenFiles, .tooManyOpenFilesInSystem, .noMemory, .noBufferSpace,
        .resourceTemporarilyUnavailable, .interrupted, .timeout, .canceled,
      ]
      for errno in passing {
        for code in [.roundTripFailed, .setUpFailed, .outOfDescriptors, .outOfLockedMemory]
          as [Reason.Code]
        {
          #expect(!Reason(code, errno: errno).isLasting, "\(code), \(errno)")
        }
      }
      #expect(!Reason(.roundTripFailed).isLasting)
      for errno in [.notPermitted, .permissionDenied, .noFunction, .invalidArgument] as [Errno] {
        #expect(Reason(.roundTripFailed, errno: errno).isLasting, "\(errno)")
      }
      for code in [.notPermitted, .notImplemented, .kernelTooOld] as [Reason.Code] {
        #expect(Reason(code).isLasting, "\(code)")
      }
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

    /// The switch affects the whole machine, so the test only runs on a machine of its own.
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
      expectEpoll("notPermitted", try ProbeTool.run([]))
    }
  }
}

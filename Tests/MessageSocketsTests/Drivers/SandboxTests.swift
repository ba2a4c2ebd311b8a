// SPDX-License-Identifier: Apache-2.0
import Glibc
import Testing

extension KernelTests {
  /// A process that sandboxes itself after its loop was started, so that the kernel refuses the
  /// loop's only system call: everything ends with an error that names the cause.
  @Suite struct Sandboxes {
    /// As the profiles of containers do.
    @Test(
      .enabled(if: ProbeTool.machineHasRing, "io_uring must be allowed"),
      .enabled(
        if: KernelRelease.running >= KernelRelease(6, 1),
        "before Linux 6.1 the process ends, as documented"))
    func theRingsCallsAreRefused() throws {
      let found = try ProbeTool.run(["choice=io_uring", "task=sandbox"])
      expectAllEnded(found)
      #expect(found["second"] == "epoll", "\(found)")
      #expect(found["works"] == "none", "\(found)")
      #expect(found["ahead"] == "none", "\(found)")
    }

    /// Here the requests can still be cancelled, and nothing remains of the sockets. A new loop
    /// finds out that it cannot use a ring.
    @Test(
      .enabled(if: ProbeTool.machineHasRing, "io_uring must be allowed"),
      .enabled(
        if: KernelRelease.running >= KernelRelease(6, 0),
        "before Linux 6.0 the process ends, as documented"))
    func enteringTheRingIsRefused() throws {
      let found = try ProbeTool.run(["choice=io_uring", "task=sandbox-enter"])
      expectAllEnded(found)
      #expect(found["second"] == "epoll", "\(found)")
      #expect(found["works"] == "none", "\(found)")
      #expect(found["ahead"] == "none", "\(found)")
      #expect(found["end"] == "true", "\(found)")
      #expect(found["bound"] == "true", "\(found)")
    }

    @Test func theEpollDriversCallIsRefused() throws {
      expectAllEnded(try ProbeTool.run(["choice=epoll", "task=sandbox"]))
    }

    private func expectAllEnded(
      _ found: [String: String], sourceLocation: SourceLocation = #_sourceLocation
    ) {
      for name in ["queued", "receive", "accept", "sleeper", "later", "sleep"] {
        #expect(found[name] == "loopFailed", "\(name) of \(found)", sourceLocation: sourceLocation)
      }
      #expect(found["send"] == "partialSend", "\(found)", sourceLocation: sourceLocation)
      #expect(found["errno"] == "\(EPERM)", "\(found)", sourceLocation: sourceLocation)
      // Everything that does not need the kernel continues.
      #expect(found["open"] == "none", "\(found)", sourceLocation: sourceLocation)
      #expect(found["jobs"] == "true", "\(found)", sourceLocation: sourceLocation)
      #expect(found["sockets"] == "0", "\(found)", sourceLocation: sourceLocation)
      #expect(found["signal"] == nil, "\(found)", sourceLocation: sourceLocation)
    }
  }
}

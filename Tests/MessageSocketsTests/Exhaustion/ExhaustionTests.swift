// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets
import Testing

@testable import SocketEngine

extension KernelTests {
  /// When a resource is exhausted, calls throw typed errors, and everything continues when the
  /// resource is available again. See also ``Refusals`` (no memory for a ring), ``Waiting`` (full
  /// send queues) and ``Deadlines`` (no descriptor for a connection).
  @Suite struct Exhaustion {
    static var isOnRing: Bool { TestLoop.isOnRing }
    private var choice: String { Self.isOnRing ? "choice=io_uring" : "choice=epoll" }

    // MARK: EMFILE

    struct Shortage: CustomTestStringConvertible, Sendable {
      let free: Int
      let receivesAhead: Bool
      var testDescription: String { "\(free) free, \(receivesAhead ? "ahead" : "on demand")" }
    }

    /// The kernel installs as many descriptors as there are free numbers, sets `MSG_CTRUNC`, and
    /// drops the rest. The descriptors that have arrived are kept.
    @Test(
      arguments: [0, 3].flatMap { free in
        [false, true].map { Shortage(free: free, receivesAhead: $0) }
      })
    func aMessageForWhichThereAreTooFewNumbers(shortage: Shortage) async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixSeqpacket.makePair()
        var pipes: [Pipe] = []
        var sent = OwnedFds()
        for _ in 0..<8 {
          let pipe = try Pipe()
          sent.append(pipe.takeWriter())
          pipes.append(pipe)
        }
        try await left.sendMessage([1, 2, 3], descriptors: sent.span)
        try await left.sendMessage([4], descriptors: sent.span)
        // Once armed, the iteration would receive immediately.
        var iterator = right.messages(window: ReceiveWindow(messages: 1)).makeAsyncIterator()
        var thrown: SocketError?
        do {
          let limit = leaveFreeNumbers(shortage.free)
          defer { setDescriptorLimit(limit) }
          _ = shortage.receivesAhead ? try await iterator.next() : try await right.receiveMessage()
        } catch let error as SocketError { thrown = error }
        #expect(thrown?.code == .messageIncomplete)
        let first = try #require(thrown?.message)
        #expect(first.payload == [1, 2, 3])
        #expect(first.descriptorCount == shortage.free)
        #expect(first.outcome.isControlTruncated)
        #expect(!first.outcome.isPayloadTruncated)
        // The next message arrives complete. The error has ended the iteration; a new one
        // continues.
        try await right.setReceivePolicy(.reportingLoss)
        iterator = right.messages(window: ReceiveWindow(messages: 1)).makeAsyncIterator()
        let second: ReceivedMessage
        do {
          second = try #require(
            shortage.receivesAhead ? try await iterator.next() : try await right.receiveMessage())
        } catch let error as SocketError {
          // It was received ahead during the shortage, before the policy was set.
          second = try #require(error.message)
        }
        #expect(second.payload == [4])
        let (arrived, missing) = (second.descriptorCount, second.outcome.isControlTruncated)
        // If received ahead, it may have arrived during the shortage.
        #expect(arrived == 8 && !missing || shortage.receivesAhead && arrived == 0 && missing)

        // Every end is accounted for: the descriptors that arrived are the first of those that were
        // sent, in order.
        sent.closeAll()
        _ = second.takeDescriptors()
        for (number, pipe) in pipes.enumerated() {
          #expect(pipe.isAtEnd == (number >= shortage.free))
        }
        for number in 0..<shortage.free {
          _ = first.takeDescriptor()
          #expect(pipes[number].isAtEnd)
        }
        await left.close()
        await right.close()
      }
    }

    /// Lowers the limit so that `count` numbers are free in this process, and returns the previous
    /// limit.
    private func leaveFreeNumbers(_ count: Int) -> rlimit {
      let used = openDescriptors().keys
      var limit: Int32 = 0
      var free = 0
      // Not below the standard descriptors: poll(2) fails if it gets more descriptors than the
      // limit.
      while free < count || limit < 3 {
        if !used.contains(limit) { free += 1 }
        limit += 1
      }
      var before = rlimit()
      getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &before)
      setDescriptorLimit(rlimit(rlim_cur: rlim_t(limit), rlim_max: before.rlim_max))
      return before
    }

    private func setDescriptorLimit(_ limit: rlimit) {
      var limit = limit
      setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }

    // MARK: ENFILE, ENOMEM, ENOBUFS

    /// Filling the system's table would do harm, and its limit does not apply to root. So a seccomp
    /// filter answers the first three calls in its place. On io_uring there is no system call to
    /// answer.
    @Test(
      .enabled(
        if: !TestLoop.isOnRing, "io_uring accepts without a system call that could be made to fail"),
      .enabled(
        if: KernelRelease.running >= KernelRelease(5, 5),
        "a filter can let calls pass since Linux 5.5"),
      arguments: [
        (ENFILE, "outOfDescriptors"), (EMFILE, "outOfDescriptors"), (ENOMEM, "outOfMemory"),
        (ENOBUFS, "outOfMemory"),
      ])
    func aSystemWithNothingLeftRefusesAccepts(error: Int32, code: String) throws {
      let found = try ProbeTool.run(["accept=\(error)", "choice=epoll", "task=accept"])
      #expect(found["refused"] == code, "\(found)")
      #expect(found["errno"] == "\(error)", "\(found)")
      // On the same listener, after two more failures.
      #expect(found["served"] == "true", "\(found)")
    }

    // MARK: EAGAIN

    /// This EAGAIN does not mean that the call would have blocked.
    @Test(
      .enabled(
        if: ProbeTool.isRoot, "only root can become another user, and is not bound by RLIMIT_NPROC")
    )
    func aUserWithoutThreadsStartsNoLoop() throws {
      let found = try ProbeTool.run(["threads=1", "user=\(ProbeTool.ownUser)", choice, "start=now"])
      #expect(found["error"] == "outOfThreads", "\(found)")
      #expect(found["isAgain"] == "true", "\(found)")
    }

    // MARK: ETOOMANYREFS

    /// RLIMIT_NOFILE limits a user's descriptors in unread messages, but not root's.
    @Test(.enabled(if: ProbeTool.isRoot, "only root can become another user"))
    func tooManyDescriptorsOnTheirWay() throws {
      let found = try ProbeTool.run([
        "descriptors=64", "user=\(ProbeTool.ownUser)", choice, "task=in-flight",
      ])
      #expect(found["refused"] == "tooManyInFlight", "\(found)")
      #expect(found["errno"] == "\(ETOOMANYREFS)", "\(found)")
      // Sixteen per message, until more than 64 are in flight.
      #expect(found["sent"] == "5", "\(found)")
      #expect(found["whole"] == "5", "\(found)")
      #expect(found["plain"] == "true", "\(found)")
      #expect(found["recovered"] == "true", "\(found)")
    }
  }
}

// SPDX-License-Identifier: Apache-2.0
import Glibc
@testable import MessageSockets
import SystemPackage
import Testing

@testable import SocketEngine

/// The loop at the kernel's limits.
extension KernelTests {
  @Suite struct Limits {
    private static let tiny: IOLoop.Configuration = {
      var configuration = IOLoop.Configuration()
      // One submission entry, two completion entries.
      configuration.ringEntries = 1
      return configuration
    }()

    /// All messages arrive between two turns, so most completions do not fit (CQ overflow): none is
    /// lost.
    @Test(arguments: [false, true]) func moreCompletionsThanTheQueueHasPlaces(receivesAhead: Bool)
      async throws
    {
      let reception = Reception(socket: .unixSeqpacket, isAhead: receivesAhead)
      try await withOwnLoop(Self.tiny) { loop in
        try await loop.run {
          let pairs = try (0..<64).map { _ in try UnixSeqpacket.makePair() }
          let numbers = try await withThrowingTaskGroup(of: Int.self) { group in
            for (_, right) in pairs {
              group.addTask {
                let message = try #require(try await reception.next(from: right))
                return try #require(try message.takeDescriptor()?.number)
              }
            }
            await untilOperationsArePending(64, on: loop)
            // Sent in one job, by calls that do not wait: the loop sees no completion before the
            // last message has arrived.
            for (number, (left, _)) in pairs.enumerated() { try await left.sendAtOnce(number) }
            return try await group.reduce(into: Set<Int>()) { $0.insert($1) }
          }
          #expect(numbers == Set(0..<64))
          for (left, right) in pairs {
            await left.close()
            await right.close()
          }
        }
      }
    }

    /// While requests are left over, the loop does not sleep: the request that would wake it may be
    /// among them.
    @Test func requestsThatFoundTheQueueFullDoNotWaitForAnEvent() async throws {
      try await withOwnLoop(Self.tiny) { loop in
        try await loop.run {
          let pairs = try (0..<100).map { _ in try UnixSeqpacket.makePair() }
          // Sent before it is asked for, so that the receive ends as soon as the kernel has the
          // request.
          try await pairs[90].0.sendMessage([1])
          let answer = try await withThrowingTaskGroup(of: [UInt8]?.self) { group in
            for (number, (_, right)) in pairs.enumerated() {
              group.addTask {
                if number == 90 {
                  return try await loop.withDeadline(.now + .seconds(10)) {
                    try await right.receiveMessage()?.payload
                  }
                }
                _ = try? await right.receiveMessage()
                return nil
              }
            }
            defer { group.cancelAll() }
            return try await group.next() ?? nil
          }
          #expect(answer == [1])
          for (left, right) in pairs {
            await left.close()
            await right.close()
          }
        }
      }
    }

    /// Requests that find the submission queue full go with a later enter, in order for each
    /// socket.
    @Test func moreSubmissionsThanTheQueueHasPlaces() async throws {
      try await withOwnLoop(Self.tiny) { loop in
        try await loop.run {
          let pairs = try (0..<100).map { _ in try UnixSeqpacket.makePair() }
          try await withThrowingTaskGroup(of: Void.self) { group in
            for (number, (left, _)) in pairs.enumerated() {
              for part in 0..<3 {
                group.addTask {
                  try await left.sendMessage(
                    [UInt8(number), UInt8(part)], descriptor: try .numbered(number))
                }
              }
            }
            try await group.waitForAll()
          }
          for (number, (left, right)) in pairs.enumerated() {
            for part in 0..<3 {
              let message = try #require(try await right.receiveMessage())
              #expect(message.payload == [UInt8(number), UInt8(part)])
              #expect(try message.takeDescriptor()?.number == number)
            }
            await left.close()
            await right.close()
          }
        }
      }
    }

    /// A wake-up that does not fit among the completions ends the poll for it.
    @Test(.timeLimit(.minutes(1))) func theLoopCanBeWokenAfterAnOverflow() async throws {
      try await withOwnLoop(Self.tiny) { loop in
        for _ in 0..<10 {
          let pairs = try (0..<64).map { _ in try UnixSeqpacket.makePair(on: loop) }
          try await loop.run {
            let received = try await withThrowingTaskGroup(of: Int.self) { group in
              for (_, right) in pairs {
                group.addTask { try await right.receiveMessage()?.payload.count ?? 0 }
              }
              await untilOperationsArePending(64, on: loop)
              // In one job, with the wake-up in the middle.
              for (number, (left, _)) in pairs.enumerated() {
                #expect(send(left.channel.socket.number, [1] as [UInt8], 1, 0) == 1)
                if number == 32 { loop.core.inbox.wakeDescriptor.signal() }
              }
              return try await group.reduce(0, +)
            }
            #expect(received == 64)
          }
          // From another thread, while the loop sleeps.
          for (left, right) in pairs {
            await left.close()
            await right.close()
          }
        }
      }
    }

    /// The loop does not sleep while requests wait for an entry: no completion would wake it for
    /// them.
    @Test(.timeLimit(.minutes(1))) func requestsThatFoundNoPlaceAreNotForgotten() async throws {
      try await withOwnLoop(Self.tiny) { loop in
        let pairs = try (0..<50).map { _ in try Self.makeForeignPair(on: loop) }
        // One job starts them all, and nothing else happens on the loop.
        let tasks = await loop.run {
          pairs.map { pair in Task.immediate { try await pair.ours.receiveMessage()?.payload } }
        }
        // Each is sent by another thread, in a call that does not wake the loop.
        for (number, pair) in pairs.enumerated().reversed() {
          #expect(pair.peer.send(UInt8(number)) == 1)
          #expect(try await tasks[number].value == [UInt8(number)])
        }
        for pair in pairs { await pair.ours.close() }
      }
    }

    /// A socket of the loop, and its peer outside the loop.
    private static func makeForeignPair(on loop: IOLoop) throws -> (ours: UnixSeqpacket, peer: Peer)
    {
      var numbers: [Int32] = [-1, -1]
      try #require(
        socketpair(
          AF_UNIX, Int32(SOCK_SEQPACKET.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0, &numbers) == 0)
      let peer = OwnedFd(adopting: FileDescriptor(rawValue: numbers[1]))
      return (
        try UnixSeqpacket(
          adopting: OwnedFd(adopting: FileDescriptor(rawValue: numbers[0])), on: loop), Peer(peer)
      )
    }

    private final class Peer: Sendable {
      private let socket: OwnedFd
      init(_ socket: consuming OwnedFd) { self.socket = socket }
      func send(_ byte: UInt8) -> Int {
        socket.withUnsafeFileDescriptor { socket in
          withUnsafeBytes(of: byte) { write(socket.rawValue, $0.baseAddress, 1) }
        }
      }
    }

    /// A request that moves between two of the kernel's queues is found in neither. Here it is not
    /// even submitted, so the kernel finds nothing; the loop asks again, and wakes up to do so.
    @Test(.enabled(if: TestLoop.isOnRing, "epoll cancels in the process"))
    func whatTheKernelDoesNotFindIsCancelledAgain() async throws {
      // Uses another loop's clock, so that only looking at this loop makes it wake.
      let clock = try TestLoop.shared.get()
      try await withOwnLoop { loop in
        let (left, right) = try UnixSeqpacket.makePair(on: loop)
        let receive = await loop.run {
          let socket = right.channel.socket
          let receive = loop.core.makeOperation(loop.core.receiveRequest(flags: 0), socket: socket)
          loop.core.driver.cancel(receive)
          return receive
        }
        var looks: UInt64 = 0
        let first = await loop.statistics.submissions
        let limit = ContinuousClock.now + .seconds(30)
        var again: UInt64 = 0
        // Each look wakes the loop, which asks again in that turn if it is time. So the loop must
        // ask more often than the test looks.
        while again <= 2 * looks + 3, ContinuousClock.now < limit {
          try await clock.sleep(for: .milliseconds(100))
          looks += 1
          again = await loop.statistics.submissions - first
        }
        #expect(again > 2 * looks + 3)
        // Now the request is in the kernel, and the next cancellation finds it.
        let ended = await loop.run {
          receive.prepareReceive(into: nil)
          receive.acquireReceiveMemory()
          right.channel.socket.start(receive)
          return await receive.endedIgnoringCancellation().takeResult()
        }
        #expect(ended.errno == .canceled)
        await left.close()
        await right.close()
      }
    }

    /// A loop is drained, and its sockets move to another loop.
    @Test(arguments: [false, true]) func aLoopIsReplaced(receivesAhead: Bool) async throws {
      try await withOwnLoop { successor in
        let loop = try IOLoop()
        let (left, right) = try UnixSeqpacket.makePair(on: loop)
        let pending = Task(executorPreference: loop.taskExecutor) {
          if receivesAhead {
            for try await _ in right.messages {}
          } else {
            _ = try await right.receiveMessage()
          }
        }
        await untilOperationsArePending(1, on: loop)
        await loop.shutdown()
        #expect(await codeThrown { _ = try await pending.value } == .loopShutDown)
        try await adoptAndTalk(left, right, on: successor)
      }
    }

    private func adoptAndTalk(_ left: UnixSeqpacket, _ right: UnixSeqpacket, on successor: IOLoop)
      async throws
    {
      let newLeft = try UnixSeqpacket(adopting: try await left.release(), on: successor)
      let newRight = try UnixSeqpacket(adopting: try await right.release(), on: successor)
      try await newLeft.sendMessage([1], descriptor: try .numbered(9))
      #expect(try await newRight.receiveMessage()?.takeDescriptor()?.number == 9)
      await newLeft.close()
      await newRight.close()
    }

    // MARK: Deadlines of any call

    @Test func aDeadlineEndsWhateverWaits() async throws {
      try await withDescriptorOracle { loop in
        let listener = try UnixListener<UnixStream>.bind(to: try .unused())
        #expect(
          await codeThrown {
            _ = try await loop.withDeadline(.now + .milliseconds(5)) { try await listener.accept() }
          } == .deadlineExceeded
        )
        // The next connection goes to the next accept.
        let client = try await UnixStream.connect(to: listener.address)
        let server = try await loop.withDeadline(.now + .seconds(60)) {
          try await listener.accept()
        }
        try await client.sendMessage([1])
        #expect(try await server.receiveMessage()?.payload == [1])
        await listener.close()
        #expect(
          await codeThrown {
            _ = try await loop.withDeadline(.now + .seconds(60)) { try await listener.accept() }
          } == .closed)
      }
    }

    @Test func cancellationIsNoDeadline() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixStream.makePair()
        let task = Task(executorPreference: loop.taskExecutor) {
          try await loop.withDeadline(.now + .seconds(60)) {
            try await right.receiveMessage()?.payload
          }
        }
        await untilOperationsArePending(1, on: loop)
        task.cancel()
        await #expect(throws: CancellationError.self) { _ = try await task.value }
        try await left.sendMessage([1])
        #expect(try await right.receiveMessage()?.payload == [1])
      }
    }
  }
}

extension UnixSeqpacket {
  /// Sends a number with a descriptor, in a blocking call that finds room immediately.
  fileprivate func sendAtOnce(_ number: Int) throws {
    // Borrowed from the channel, and released at the end.
    let socket = BlockingSocket<UnixAddress>(
      adopting: OwnedFd(adopting: FileDescriptor(rawValue: try channel.number(for: .send))))
    let sent = Result { () throws in
      try socket.sendMessage([UInt8(number)], descriptor: try .numbered(number))
    }
    _ = socket.release().release()
    #expect(try sent.get() == 1)
  }
}

extension UnixAddress {
  /// An unused abstract address.
  static func unused() throws -> UnixAddress {
    try UnixAddress(abstract: "message-sockets-test-\(UInt64.random(in: 0...(.max)))")
  }
}

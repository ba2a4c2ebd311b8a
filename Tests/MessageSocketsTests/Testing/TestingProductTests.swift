// SPDX-License-Identifier: Apache-2.0
import MessageSockets
import MessageSocketsTesting
import Testing

extension KernelTests {
  /// The testing product: its helpers find what they must find.
  @Suite struct TestingProduct {
    /// Starts what the check itself needs, and what then stays: loops, and the timer of Swift's
    /// threads.
    init() async throws {
      _ = try IOLoopGroup.shared()
      try await Task.sleep(for: .milliseconds(1))
    }

    // MARK: Made messages

    /// A made message has all properties of a received one.
    @Test func aMadeMessageIsAsAReceivedOne() async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixSeqpacket.makePair()
        try await right.setOption(.passCredentials, to: true)
        var sent = OwnedFds()
        for number in 0..<2 { sent.append(try .numbered(number)) }
        try await left.sendMessage([1, 2], descriptors: sent.span)
        let received = try #require(try await right.receiveMessage())
        let made = ReceivedMessage.forTesting(
          [1, 2], descriptors: sent, credentials: received.credentials)
        #expect(made.payload == received.payload)
        #expect(made.byteCount == received.byteCount)
        #expect(made.descriptorCount == received.descriptorCount)
        #expect(made.credentials == received.credentials)
        #expect(made.outcome == received.outcome)
        #expect(made.flags == received.flags)
        #expect(made.sender == received.sender)
        #expect(Set(made.control.map(\.kind)) == Set(received.control.map(\.kind)))
        #expect(made.control.byteCount == received.control.byteCount)
        #expect(try made.takeDescriptor()?.number == 0)
        #expect(made.takeDescriptors().count == 1)
        #expect(made.takeDescriptors().count == 0)
        await left.close()
        await right.close()
      }
    }

    @Test func aMadeMessageClosesWhatIsNotTaken() async throws {
      try await withDescriptorOracle { _ in
        let pipe = try Pipe()
        var descriptors = OwnedFds()
        descriptors.append(pipe.takeWriter())
        var message: ReceivedMessage? = .forTesting(
          descriptors: descriptors, outcome: .forTesting(surplus: 1))
        #expect(message?.descriptorCount == 1)
        #expect(!pipe.isAtEnd)
        message = nil
        #expect(pipe.comesToAnEnd)
      }
    }

    @Test func aMadeMessageSaysWhatIsMissing() throws {
      let failure = DescriptorFailure.forTesting(position: 1, errno: .permissionDenied)
      #expect(failure.errno == .permissionDenied)
      let refused = RefusedDescriptor.forTesting(
        position: 0, facts: DescriptorFacts(kind: .pipe, access: .read), reason: .kind)
      let outcome = DeliveryStatus.forTesting(
        fullLength: 9, controlTruncation: .bufferFull, failures: [failure], surplus: 3,
        refused: [refused])
      let message = ReceivedMessage.forTesting([1], outcome: outcome)
      #expect(message.outcome == outcome)
      #expect(message.outcome.isPayloadTruncated && message.outcome.isControlTruncated)
      #expect(message.flags == [.payloadTruncated, .controlTruncated])
      let error = SocketError.forTesting(incomplete: message)
      #expect(error.code == .messageIncomplete)
      #expect(error.message === message)
      #expect(error.outcome == outcome)
    }

    // MARK: Descriptors before and after

    @Test func aDescriptorThatStaysOpenIsNamed() async throws {
      try await withDescriptorOracle { _ in
        var left: OwnedFd?
        let found = await #expect(throws: DescriptorDifference.self) {
          try await withDescriptorCheck(waiting: .zero) {
            left = try OwnedFd.openFile("/etc/passwd")
          }
        }
        let number = left?.withUnsafeFileDescriptor { $0.rawValue } ?? -1
        #expect(found?.opened == [number: "/etc/passwd"])
        #expect(found?.closed == [:])
        #expect(found?.description == "left open: \(number) (/etc/passwd)")
      }
    }

    @Test func aDescriptorThatWasClosedIsNamed() async throws {
      try await withDescriptorOracle { _ in
        var own: OwnedFd? = try OwnedFd.openFile("/etc/passwd")
        let found = await #expect(throws: DescriptorDifference.self) {
          try await withDescriptorCheck(waiting: .zero) { own = nil }
        }
        #expect(found?.closed.count == 1)
        #expect(found?.opened == [:])
        let isClosed = own == nil
        #expect(isClosed)
      }
    }

    @Test func anErrorOfTheBodyIsThrownIfNothingStaysOpen() async throws {
      await #expect(throws: CancellationError.self) {
        try await withDescriptorCheck { throw CancellationError() }
      }
      await #expect(throws: DescriptorDifference.self) {
        var left: OwnedFd?
        defer { left = nil }
        try await withDescriptorCheck(waiting: .zero) {
          left = try OwnedFd.openFile("/etc/passwd")
          throw CancellationError()
        }
        _ = left?.isCloseOnExec
      }
    }

    @Test func theThreadPoolAndTheLoopsDoNotCount() async throws {
      try await withDescriptorCheck {
        try await Task.sleep(for: .milliseconds(1))
        let (left, right) = try UnixSeqpacket.makePair()
        try await left.sendMessage([1])
        _ = try await right.receiveMessage()
      }
    }

    // MARK: Peers that mean harm

    @Test(arguments: [1, 253]) func unwantedDescriptorsArrive(count: Int) async throws {
      try await withDescriptorOracle { _ in
        let (peer, tested) = try UnixStream.makePair()
        try await peer.sendDescriptors(count)
        #expect(try await tested.receiveMessage()?.descriptorCount == count)
        await peer.close()
        await tested.close()
      }
    }

    @Test func aMessageIsTooLong() async throws {
      try await withDescriptorOracle { _ in
        let (peer, tested) = try UnixSeqpacket.makePair()
        try await peer.sendMessage(longerThan: IOLoop.Configuration().receiveBufferSize)
        #expect(await codeThrown { _ = try await tested.receiveMessage() } == .messageIncomplete)
        await peer.close()
        await tested.close()
      }
    }

    @Test func aQueueIsFull() async throws {
      try await withDescriptorOracle { _ in
        let (peer, tested) = try UnixSeqpacket.makePair()
        let count = try await peer.sendUntilFull()
        #expect(count > 0)
        for _ in 0..<count { #expect(try await tested.receiveMessage()?.payload == [0]) }
        await peer.close()
        await tested.close()
      }
    }

    @Test(arguments: [false, true])
    func aConnectionIsResetBehindItsMessages(peerHasRead: Bool) async throws {
      try await withDescriptorOracle { _ in
        let (peer, tested) = try UnixStream.makePair()
        try await tested.sendMessage([7])
        if peerHasRead { _ = try await peer.receiveMessage() }
        try await peer.sendMessage([1])
        try await peer.resetConnection(of: tested)
        #expect(try await tested.receiveMessage()?.payload == [1])
        #expect(await codeThrown { _ = try await tested.receiveMessage() } == .connectionReset)
        await tested.close()
      }
    }

    @Test func theProcessRunsOutOfDescriptorsAndHasThemAgain() async throws {
      try await withDescriptorOracle { _ in
        try await withFreeDescriptors(2) {
          let first = try OwnedFd.openFile("/dev/null")
          let second = try OwnedFd.openFile("/dev/null")
          #expect(throws: Errno.tooManyOpenFiles) { _ = try first.duplicate() }
          _ = (first.isCloseOnExec, second.isCloseOnExec)
        }
        let (left, right) = try UnixSeqpacket.makePair()
        await left.close()
        await right.close()
      }
    }
  }
}

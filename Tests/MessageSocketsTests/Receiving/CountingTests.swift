// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets
import SystemPackage
import Testing

/// A socket whose declared kind may be wrong.
actor DeclaredSocket: MessageSocket {
  nonisolated let channel: SocketChannel
  nonisolated var unownedExecutor: UnownedSerialExecutor { channel.unownedExecutor }

  init(_ descriptor: consuming OwnedFd, _ kind: SocketKind, on loop: IOLoop) {
    channel = SocketChannel(adopting: descriptor, kind: kind, loop: loop)
  }
}

extension KernelTests {
  /// No receive counts or reveals a byte that the kernel has not written.
  @Suite struct Counting {
    /// `MSG_TRUNC` is 0x20; also given by its number.
    static let options: [ReceiveOptions] = [
      .fullLength, [.fullLength, .doNotWait], [.fullLength, .waitForAll],
      ReceiveOptions(rawValue: 0x20), ReceiveOptions(rawValue: 0x20 | 0x40),
    ]
    private static let secret = [UInt8](repeating: UInt8(ascii: "s"), count: 90)
    private static let sent = [UInt8](repeating: UInt8(ascii: "x"), count: 60)

    /// The engine's memory has held the secret of another connection; the caller's memory holds a
    /// pattern.
    private func expectExactly(
      from right: some MessageSocket, to left: some MessageSocket, _ options: ReceiveOptions,
      sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
      let (from, to) = try UnixStream.makePair(on: right.loop)
      try await from.sendMessage(Self.secret)
      #expect(try await to.receiveMessage()?.payload == Self.secret)

      for _ in 0..<2 { try await left.sendMessage(Self.sent) }
      // The bytes may still be on their way.
      var seen = 0
      while seen < 120 { seen = try await right.receiveMessage(options: .peek)?.payload.count ?? 0 }
      let copy = try await right.receiveMessage(options: options.union(.peek))
      #expect(copy?.payload == Self.sent + Self.sent, sourceLocation: sourceLocation)
      #expect(copy?.byteCount == 120, sourceLocation: sourceLocation)
      #expect(copy?.outcome == .complete, sourceLocation: sourceLocation)

      let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 100, alignment: 1)
      defer { memory.deallocate() }
      memory.initializeMemory(as: UInt8.self, repeating: 0xAA)
      var room = OutputRawSpan(buffer: memory, initializedCount: 0)
      guard let parts = try await right.receiveMessage(into: &room, options: options) else {
        Issue.record("the end of a stream that goes on")
        return
      }
      let count = parts.byteCount
      #expect(count == 100, sourceLocation: sourceLocation)
      #expect(room.byteCount == 100, sourceLocation: sourceLocation)
      #expect(memory.allSatisfy { $0 == UInt8(ascii: "x") }, sourceLocation: sourceLocation)

      let rest = try await right.receiveMessage(options: options)
      #expect(rest?.payload == Array(Self.sent.prefix(20)), sourceLocation: sourceLocation)
      #expect(rest?.byteCount == 20, sourceLocation: sourceLocation)
      // The following message arrives complete, received ahead or not.
      try await left.sendMessage(Self.sent)
      var iterator = right.messages.makeAsyncIterator()
      #expect(try await iterator.next()?.payload == Self.sent, sourceLocation: sourceLocation)
      try await left.sendMessage(Self.sent)
      let last = try await right.receiveMessage(options: options.subtracting(.doNotWait))
      #expect(last?.payload == Self.sent, sourceLocation: sourceLocation)
      await from.close()
      await to.close()
    }

    @Test(arguments: [TestedSocket.unixStream, .tcpStream], options)
    func aStreamIsNotAskedForLengths(socket: TestedSocket, options: ReceiveOptions) async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try await socket.makePair()
        try await expectExactly(from: right, to: left, options)
        await left.close()
        await right.close()
      }
    }

    /// The socket's actual type counts, not the caller's claim.
    @Test(arguments: [false, true], options)
    func aStreamThatIsSaidToKeepMessagesApart(isDatagram: Bool, options: ReceiveOptions)
      async throws
    {
      try await withDescriptorOracle { loop in
        let (left, right) = try await TestedSocket.tcpStream.makePair()
        let declared = DeclaredSocket(
          try await right.release(), isDatagram ? .datagram : .seqpacket, on: loop)
        for _ in 0..<2 { try await left.sendMessage(Self.sent) }
        while try await declared.receiveMessage(options: .peek)?.payload.count ?? 0 < 120 {}
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 100, alignment: 1)
        defer { memory.deallocate() }
        var room = OutputRawSpan(buffer: memory, initializedCount: 0)
        _ = try await declared.receiveMessage(into: &room, options: options)
        #expect(room.byteCount == 100)
        #expect(memory.allSatisfy { $0 == UInt8(ascii: "x") })
        #expect(try await declared.receiveMessage(options: options)?.payload.count == 20)
        var iterator = declared.messages.makeAsyncIterator()
        try await left.sendMessage([1, 2, 3])
        #expect(try await iterator.next()?.payload == [1, 2, 3])
        await left.close()
        await declared.close()
      }
    }

    /// Shared buffers reserve room for a name even here; otherwise the payload could be longer.
    @Test func aConnectionsMessagesNameNobody() async throws {
      try await withDescriptorOracle { _ in
        let listener = try UnixListener<UnixSeqpacket>.bind(to: try .unused())
        let descriptor = try OwnedFd.socket(AF_UNIX, Int32(SOCK_SEQPACKET.rawValue))
        // The client is bound to a name.
        let bound = descriptor.withUnsafeFileDescriptor { socket in
          var family = sa_family_t(AF_UNIX)
          return withUnsafeBytes(of: &family) {
            bind(socket.rawValue, $0.baseAddress!.assumingMemoryBound(to: sockaddr.self), 2)
          }
        }
        #expect(bound == 0)
        let address = AnySocketAddress(listener.address)
        let connected = descriptor.withUnsafeFileDescriptor { socket in
          address.bytes.withUnsafeBytes {
            connect(
              socket.rawValue, $0.baseAddress!.assumingMemoryBound(to: sockaddr.self),
              socklen_t($0.count))
          }
        }
        #expect(connected == 0)
        let client = try UnixSeqpacket(adopting: descriptor)
        let server = try await listener.accept()
        for number in 0..<3 {
          try await client.sendMessage([UInt8(number)])
          var iterator = server.messages.makeAsyncIterator()
          let message = try #require(try await iterator.next())
          #expect(message.payload == [UInt8(number)])
          #expect(message.sender == nil)
        }
        await client.close()
        await server.close()
        await listener.close()
      }
    }

    @Test(
      arguments: (TestLoop.unixStreamsHaveOutOfBandBytes ? [TestedSocket.unixStream] : [])
        + [.tcpStream])
    func outOfBandBytesAreWritten(socket: TestedSocket) async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try await socket.makePair()
        try await left.sendMessage([1, 2])
        try await left.sendMessage([3], options: .outOfBand)
        // Wait until the bytes before it, and the byte after it, have arrived.
        while try await right.receiveMessage(options: .peek)?.payload.count ?? 0 < 2 {}
        var urgent: [UInt8]?
        while urgent == nil {
          // TCP may announce the byte after it has delivered the bytes before it.
          urgent = try? await right.receiveMessage(options: [.outOfBand, .fullLength])?.payload
        }
        #expect(urgent == [3])
        #expect(try await right.receiveMessage()?.payload == [1, 2])
        await left.close()
        await right.close()
      }
    }

    /// Every form truncates a message exactly where the configuration says.
    @Test(
      arguments: [1, 7, 100, 1024, 65_536],
      Reception.of([.unixSeqpacket, .unixDatagram, .unixStream]))
    func theLimitIsExact(size: Int, reception: Reception) async throws {
      var configuration = IOLoop.Configuration()
      configuration.receiveBufferSize = size
      try await withOwnLoop(configuration) { loop in
        let (left, right) = try await reception.socket.makePair(on: loop)
        try await right.setReceivePolicy(.reportingLoss)
        for length in [size, size + 1, size + 64, size + 200] {
          try await left.sendMessage([UInt8](repeating: 7, count: length))
          let message = try #require(try await reception.next(from: right))
          #expect(message.payload.count == size)
          let isCut = reception.socket != .unixStream && length > size
          #expect(message.outcome.isPayloadTruncated == isCut)
          #expect(message.outcome.fullLength == (isCut ? length : nil))
          guard reception.socket == .unixStream else { continue }
          var left = length - size
          while left > 0 {
            let rest = try #require(try await reception.next(from: right))
            #expect(rest.payload.count <= size)
            left -= rest.payload.count
          }
          #expect(left == 0)
        }
        await left.close()
        await right.close()
      }
    }
  }
}

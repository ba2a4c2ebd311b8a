// SPDX-License-Identifier: Apache-2.0
import Ancillary
import Glibc
import SystemPackage
import Testing

extension OpeningDescriptors {
  /// The internet kinds with the real kernel, over UDP on the loopback interface.
  @Suite struct InternetTests {
    /// Whether the loopback interface has IPv6.
    static var hasIPv6: Bool {
      let number = Glibc.socket(
        AF_INET6, Int32(bitPattern: SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
      guard number >= 0 else { return false }
      let socket = OwnedFd(adopting: FileDescriptor(rawValue: number))
      return withSystemAddress(InternetAddress(IPv6Address.loopback, port: 0)) { name, length in
        socket.withUnsafeFileDescriptor { unsafe Glibc.bind($0.rawValue, name, length) == 0 }
      }
    }

    @Test func kindsOfV4BothWays() throws {
      let receiver = internetSocket(AF_INET)
      let sender = internetSocket(AF_INET)
      let address = bind(receiver, to: InternetAddress(.loopback, port: 0))
      let source = bind(sender, to: InternetAddress(.loopback, port: 0))
      // IP_PKTINFO, IP_RECVTTL, IP_RECVTOS, IP_RECVORIGDSTADDR
      for option in [8, 12, 13, 20] as [Int32] { set(0, option, on: receiver) }
      // TIMESTAMPNS, RXQ_OVFL.
      for option in [35, 40] as [Int32] { set(SOL_SOCKET, option, on: receiver) }

      var outgoing = AncillaryDataBuffer()
      outgoing.append(HopLimit(.v4, 7))
      outgoing.append(TrafficClass(.v4, 0x2E))
      outgoing.append(PacketInfoV4(localAddress: .loopback))
      let payload: [UInt8] = [1, 2, 3]
      let sent = try MessageSender(unsafe payload.span.bytes).ancillaryData(
        outgoing.ancillaryData()
      ).send(
        to: address, on: sender)
      #expect(sent == 3)

      var buffer = AncillaryDataBuffer(capacity: 1024)
      var data = buffer.ancillaryData()
      var memory = [UInt8](repeating: 0, count: 8)
      var span = memory.mutableSpan
      let (result, from) = try MessageReceiver(unsafe span.mutableBytes).receiveAddressed(
        on: receiver, ancillary: &data)
      #expect(result.byteCount == 3)
      #expect(from == source)
      let messages = data.controlMessages
      #expect(try messages.first(HopLimit.self) == HopLimit(.v4, 7))
      #expect(try messages.first(TrafficClass.self) == TrafficClass(.v4, 0x2E))
      #expect(try messages.first(OriginalDestination.self) == OriginalDestination(address))
      #expect(try messages.first(DroppedMessageCount.self)?.value ?? 0 == 0)
      let info = try #require(try messages.first(PacketInfoV4.self))
      #expect((info.destination, info.localAddress) == (.loopback, .loopback))
      let time = try #require(try messages.first(Timestamp.self))
      #expect(time.seconds > 1_600_000_000)
    }

    @Test(.enabled(if: Self.hasIPv6, "no IPv6 on the loopback interface")) func kindsOfV6BothWays()
      throws
    {
      let receiver = internetSocket(AF_INET6)
      let sender = internetSocket(AF_INET6)
      let address = bind(receiver, to: InternetAddress(IPv6Address.loopback, port: 0))
      // IPV6_RECVPKTINFO, IPV6_RECVHOPLIMIT, IPV6_RECVTCLASS, IPV6_RECVORIGDSTADDR
      for option in [49, 51, 66, 74] as [Int32] { set(41, option, on: receiver) }
      var outgoing = AncillaryDataBuffer()
      outgoing.append(HopLimit(.v6, 9))
      outgoing.append(TrafficClass(.v6, 0x2D))
      outgoing.append(PacketInfoV6(address: .loopback))
      let payload: [UInt8] = [1]
      _ = try MessageSender(unsafe payload.span.bytes).ancillaryData(outgoing.ancillaryData()).send(
        to: address, on: sender)

      var buffer = AncillaryDataBuffer(capacity: 1024)
      var data = buffer.ancillaryData()
      var memory = [UInt8](repeating: 0, count: 8)
      var span = memory.mutableSpan
      _ = try MessageReceiver(unsafe span.mutableBytes).receive(on: receiver, ancillary: &data)
      let messages = data.controlMessages
      #expect(try messages.first(HopLimit.self) == HopLimit(.v6, 9))
      #expect(try messages.first(TrafficClass.self)?.congestion == .capable1)
      #expect(try messages.first(PacketInfoV6.self)?.address == .loopback)
      #expect(try messages.first(OriginalDestination.self) == OriginalDestination(address))
    }

    @Test func segmentsOutAndCoalescedIn() throws {
      let receiver = internetSocket(AF_INET)
      let sender = internetSocket(AF_INET)
      let address = bind(receiver, to: InternetAddress(.loopback, port: 0))
      set(17, 104, on: receiver)  // UDP_GRO
      var outgoing = AncillaryDataBuffer()
      outgoing.append(SegmentSize(100))
      let payload = [UInt8](repeating: 5, count: 450)
      let sent = try MessageSender(unsafe payload.span.bytes).ancillaryData(
        outgoing.ancillaryData()
      ).send(
        to: address, on: sender)
      #expect(sent == 450)
      var received = 0
      while received < 450 {
        var buffer = AncillaryDataBuffer(capacity: 256)
        var data = buffer.ancillaryData()
        var memory = [UInt8](repeating: 0, count: 2000)
        var span = memory.mutableSpan
        let result = try MessageReceiver(unsafe span.mutableBytes).receive(
          on: receiver, ancillary: &data)
        received += result.byteCount
        let size = try data.controlMessages.first(CoalescedSegmentSize.self)
        #expect(result.byteCount <= 100 || size == CoalescedSegmentSize(100))
      }
      #expect(received == 450)
    }

    /// A datagram to a port without a socket: the loopback interface answers during the send.
    func refusal(from sender: borrowing InternetSocket, at host: InternetAddress) throws {
      // A port that was bound just before, and is free again.
      var address = host
      do {
        let other = internetSocket(host.encodedByteCount == 16 ? AF_INET : AF_INET6)
        address = bind(other, to: host)
      }
      try send([1, 2, 3, 4], to: address, on: sender)
      var buffer = AncillaryDataBuffer(capacity: 512)
      var data = buffer.ancillaryData()
      var memory = [UInt8](repeating: 0, count: 8)
      var span = memory.mutableSpan
      let (result, destination) = try MessageReceiver(&span).options(.errorQueue).receiveAddressed(
        on: sender, ancillary: &data)
      #expect(result.flags.contains(.errorQueue))
      #expect(result.byteCount == 4)
      #expect(destination == address)
      let error = try #require(try data.controlMessages.first(ExtendedError.self))
      #expect(error.errno == .connectionRefused)
      #expect(error.origin == (address.encodedByteCount == 16 ? .icmp : .icmp6))
      #expect(error.offender == host)
    }

    @Test func errorQueueNamesTheOffender() throws {
      let sender = internetSocket(AF_INET)
      set(0, 11, on: sender)  // IP_RECVERR
      try refusal(from: sender, at: InternetAddress(.loopback, port: 0))
    }

    @Test(.enabled(if: Self.hasIPv6, "no IPv6 on the loopback interface")) func errorQueueOfV6()
      throws
    {
      let sender = internetSocket(AF_INET6)
      set(41, 25, on: sender)  // IPV6_RECVERR
      try refusal(from: sender, at: InternetAddress(IPv6Address.loopback, port: 0))
    }

    /// Control memory of every length, with real messages of the kernel: complete messages are
    /// decoded correctly, truncated ones are errors, and nothing is read beyond the end.
    @Test func everyLengthOfControlMemory() throws {
      let receiver = internetSocket(AF_INET)
      let sender = internetSocket(AF_INET)
      let address = bind(receiver, to: InternetAddress(.loopback, port: 0))
      // IP_PKTINFO, IP_RECVTTL, IP_RECVTOS.
      for option in [8, 12, 13] as [Int32] { set(0, option, on: receiver) }
      var control = ControlMessageBuffer()
      control.append(HopLimit(.v4, 7))
      control.append(TrafficClass(.v4, 0x2E))
      for room in 0...96 {
        try send([UInt8(room)], control, to: address, on: sender)
        let arrived = try arrival(on: receiver, room: room)
        #expect(arrived.payload == [UInt8(room)])
        var whole = 0
        if Self.isWhole(arrived.control, PacketInfoV4.self, { $0.destination == .loopback }) {
          whole += 1
        }
        if Self.isWhole(arrived.control, HopLimit.self, { $0.value == 7 }) { whole += 1 }
        if Self.isWhole(arrived.control, TrafficClass.self, { $0.value == 0x2E }) { whole += 1 }
        #expect(arrived.flags.contains(.controlTruncated) == (whole < 3), "room for \(room)")
      }
    }

    /// Returns whether the message is present and can be decoded. A decoded message must be
    /// correct, and a truncated one must be an error.
    static func isWhole<T: DecodableControlMessage>(
      _ control: ControlMessageBuffer, _ type: T.Type, _ isRight: (T) -> Bool
    ) -> Bool {
      do {
        guard let value = try control.messages.first(type) else { return false }
        #expect(isRight(value))
        return true
      } catch {
        #expect(error.code == .malformedData)
        return false
      }
    }

    @Test func tcpCarriesPayloadAndControl() throws {
      var pair = tcpPair()
      let client = pair.takeFirst()!
      let server = pair.takeFirst()!
      set(6, 36, on: server)  // TCP_INQ
      let payload: [UInt8] = [1, 2, 3, 4, 5]
      #expect(try MessageSender(payload.span).send(on: client) == 5)

      var control = [UInt8](repeating: 0, count: 64)
      var controlSpan = control.mutableSpan
      var data = AncillaryData(&controlSpan)
      var memory = [UInt8](repeating: 0, count: 2)
      var span = memory.mutableSpan
      let result = try MessageReceiver(&span).options(.waitForAll).receive(
        on: server, ancillary: &data)
      #expect(result.byteCount == 2)
      let queued = try data.controlMessages.first(QueuedByteCount.self)
      #expect(queued == QueuedByteCount(3))
      // The end of the stream would count as one more byte.
      try client.close()
    }

    @Test func unixDatagramsNameTheirSource() throws {
      let receiver = BlockingSocket<UnixAddress>(adopting: Self.unixDatagram())
      let sender = BlockingSocket<UnixAddress>(adopting: Self.unixDatagram())
      let address = try UnixAddress(abstract: Array("ancillary\0tests\0\(getpid())".utf8))
      let source = try UnixAddress(abstract: Array("ancillary\0source\0\(getpid())".utf8))
      for (socket, isReceiver) in [(address, true), (source, false)] {
        let result = withSystemAddress(socket) { name, length in
          let bind = { (descriptor: FileDescriptor) in
            unsafe Glibc.bind(descriptor.rawValue, name, length)
          }
          return isReceiver
            ? receiver.withUnsafeFileDescriptor(bind) : sender.withUnsafeFileDescriptor(bind)
        }
        #expect(result == 0)
      }
      let payload: [UInt8] = [1]
      _ = try MessageSender(unsafe payload.span.bytes).send(to: address, on: sender)
      var none = AncillaryData()
      var memory = [UInt8](repeating: 0, count: 8)
      var span = memory.mutableSpan
      let (_, from) = try MessageReceiver(unsafe span.mutableBytes).receiveAddressed(
        on: receiver, ancillary: &none)
      #expect(from == source)
    }

    static func unixDatagram() -> OwnedFd {
      let number = Glibc.socket(
        AF_UNIX, Int32(bitPattern: SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
      precondition(number >= 0, "socket: \(errno)")
      return OwnedFd(adopting: FileDescriptor(rawValue: number))
    }
  }
}

import Ancillary
import Glibc
import SystemPackage
import Testing

extension OpeningDescriptors {
  /// The internet kinds against the kernel, over UDP on the loopback interface.
  @Suite struct InternetTests {
    typealias UDP = BlockingSocket<InternetAddress>

    static func socket(_ family: Int32, _ type: __socket_type = SOCK_DGRAM) -> UDP {
      let number = Glibc.socket(family, Int32(bitPattern: type.rawValue | SOCK_CLOEXEC.rawValue), 0)
      precondition(number >= 0, "socket: \(errno)")
      return UDP(adopting: OwnedFd(adopting: FileDescriptor(rawValue: number)))
    }

    static func bind(_ socket: borrowing UDP, to address: InternetAddress) -> InternetAddress {
      socket.withUnsafeFileDescriptor { descriptor in
        let result = address.withSocketAddressBytes { bytes in
          unsafe bytes.withUnsafeBytes {
            unsafe Glibc.bind(
              descriptor.rawValue, $0.baseAddress!.assumingMemoryBound(to: sockaddr.self), socklen_t($0.count))
          }
        }
        precondition(result == 0, "bind: \(errno)")
        var name = [UInt8](repeating: 0, count: 128)
        var length = socklen_t(name.count)
        _ = unsafe name.withUnsafeMutableBytes {
          unsafe getsockname(descriptor.rawValue, $0.baseAddress!.assumingMemoryBound(to: sockaddr.self), &length)
        }
        return withSpan(Array(name[..<Int(length)])) { try! InternetAddress(decoding: $0) }
      }
    }

    static func set(_ level: Int32, _ option: Int32, _ value: Int32 = 1, on socket: borrowing UDP) {
      var value = value
      socket.withUnsafeFileDescriptor {
        let result = unsafe setsockopt($0.rawValue, level, option, &value, socklen_t(MemoryLayout<Int32>.size))
        precondition(result == 0, "setsockopt \(level)/\(option): \(errno)")
      }
    }

    @Test func kindsOfV4BothWays() throws {
      let receiver = Self.socket(AF_INET)
      let sender = Self.socket(AF_INET)
      let address = Self.bind(receiver, to: InternetAddress(.loopback, port: 0))
      let source = Self.bind(sender, to: InternetAddress(.loopback, port: 0))
      // IP_PKTINFO, IP_RECVTTL, IP_RECVTOS, IP_RECVORIGDSTADDR
      for option in [8, 12, 13, 20] as [Int32] { Self.set(0, option, on: receiver) }
      for option in [35, 40] as [Int32] { Self.set(SOL_SOCKET, option, on: receiver) }  // TIMESTAMPNS, RXQ_OVFL

      var outgoing = AncillaryDataBuffer()
      outgoing.append(HopLimit(.v4, 7))
      outgoing.append(TrafficClass(.v4, 0x2E))
      outgoing.append(PacketInfoV4(localAddress: .loopback))
      let payload: [UInt8] = [1, 2, 3]
      let sent = try MessageSender(unsafe payload.span.bytes).ancillaryData(outgoing.ancillaryData()).send(
        to: address, on: sender)
      #expect(sent == 3)

      var buffer = AncillaryDataBuffer(capacity: 1024)
      var data = buffer.ancillaryData()
      var memory = [UInt8](repeating: 0, count: 8)
      var span = memory.mutableSpan
      let (result, from) = try MessageReceiver(unsafe span.mutableBytes).receiveFrom(on: receiver, ancillary: &data)
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

    @Test func kindsOfV6BothWays() throws {
      let receiver = Self.socket(AF_INET6)
      let sender = Self.socket(AF_INET6)
      let address = Self.bind(receiver, to: InternetAddress(IPv6Address.loopback, port: 0))
      // IPV6_RECVPKTINFO, IPV6_RECVHOPLIMIT, IPV6_RECVTCLASS, IPV6_RECVORIGDSTADDR
      for option in [49, 51, 66, 74] as [Int32] { Self.set(41, option, on: receiver) }
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
      let receiver = Self.socket(AF_INET)
      let sender = Self.socket(AF_INET)
      let address = Self.bind(receiver, to: InternetAddress(.loopback, port: 0))
      Self.set(17, 104, on: receiver)  // UDP_GRO
      var outgoing = AncillaryDataBuffer()
      outgoing.append(SegmentSize(100))
      let payload = [UInt8](repeating: 5, count: 450)
      let sent = try MessageSender(unsafe payload.span.bytes).ancillaryData(outgoing.ancillaryData()).send(
        to: address, on: sender)
      #expect(sent == 450)
      var received = 0
      while received < 450 {
        var buffer = AncillaryDataBuffer(capacity: 256)
        var data = buffer.ancillaryData()
        var memory = [UInt8](repeating: 0, count: 2000)
        var span = memory.mutableSpan
        let result = try MessageReceiver(unsafe span.mutableBytes).receive(on: receiver, ancillary: &data)
        received += result.byteCount
        let size = try data.controlMessages.first(CoalescedSegmentSize.self)
        #expect(result.byteCount <= 100 || size == CoalescedSegmentSize(100))
      }
      #expect(received == 450)
    }

    @Test func errorQueueNamesTheOffender() throws {
      let sender = Self.socket(AF_INET)
      // A port that was bound a moment ago, and is free again.
      let address = {
        let other = Self.socket(AF_INET)
        return Self.bind(other, to: InternetAddress(.loopback, port: 0))
      }()
      Self.set(0, 11, on: sender)  // IP_RECVERR
      let payload: [UInt8] = [1, 2, 3, 4]
      _ = try MessageSender(unsafe payload.span.bytes).send(to: address, on: sender)
      var buffer = AncillaryDataBuffer(capacity: 512)
      var data = buffer.ancillaryData()
      var memory = [UInt8](repeating: 0, count: 8)
      var span = memory.mutableSpan
      let (result, destination) = try MessageReceiver(unsafe span.mutableBytes).options(.errorQueue)
        .receiveFrom(on: sender, ancillary: &data)
      #expect(result.flags.contains(.errorQueue))
      #expect(destination == address)
      let error = try #require(try data.controlMessages.first(ExtendedError.self))
      #expect(error.errno == .connectionRefused)
      #expect(error.origin == .icmp)
      #expect(error.offender == InternetAddress(.loopback, port: 0))
    }

    @Test func tcpCarriesPayloadAndControl() throws {
      let listener = Self.socket(AF_INET, SOCK_STREAM)
      let address = Self.bind(listener, to: InternetAddress(.loopback, port: 0))
      let client = Self.socket(AF_INET, SOCK_STREAM)
      let isConnected =
        listener.withUnsafeFileDescriptor { listen($0.rawValue, 1) } == 0
        && address.withSocketAddressBytes { bytes in
          unsafe bytes.withUnsafeBytes { name in
            client.withUnsafeFileDescriptor {
              unsafe connect($0.rawValue, name.baseAddress!.assumingMemoryBound(to: sockaddr.self), socklen_t(name.count))
            }
          }
        } == 0
      #expect(isConnected)
      let accepted = listener.withUnsafeFileDescriptor { accept($0.rawValue, nil, nil) }
      let server = OwnedFd(adopting: FileDescriptor(rawValue: accepted))
      var on: Int32 = 1
      let option = server.withUnsafeFileDescriptor {  // TCP_INQ
        unsafe setsockopt($0.rawValue, 6, 36, &on, socklen_t(MemoryLayout<Int32>.size))
      }
      #expect(option == 0)
      let payload: [UInt8] = [1, 2, 3, 4, 5]
      #expect(try MessageSender(payload.span).send(on: client) == 5)

      var control = [UInt8](repeating: 0, count: 64)
      var controlSpan = control.mutableSpan
      var data = AncillaryData(&controlSpan)
      var memory = [UInt8](repeating: 0, count: 2)
      var span = memory.mutableSpan
      let result = try MessageReceiver(&span).options(.waitForAll).receive(on: server, ancillary: &data)
      #expect(result.byteCount == 2)
      let queued = try data.controlMessages.first(QueuedByteCount.self)
      #expect(queued == QueuedByteCount(3))
      // An end of the stream would count as one more byte.
      _ = client.release()
    }

    @Test func unixDatagramsNameTheirSource() throws {
      let receiver = BlockingSocket<UnixAddress>(adopting: Self.unixDatagram())
      let sender = BlockingSocket<UnixAddress>(adopting: Self.unixDatagram())
      let address = try UnixAddress(abstract: Array("ancillary\0tests\0\(getpid())".utf8))
      let source = try UnixAddress(abstract: Array("ancillary\0source\0\(getpid())".utf8))
      for (socket, isReceiver) in [(address, true), (source, false)] {
        let result = socket.withSocketAddressBytes { bytes in
          unsafe bytes.withUnsafeBytes { name in
            let bind = { (descriptor: FileDescriptor) in
              unsafe Glibc.bind(
                descriptor.rawValue, name.baseAddress!.assumingMemoryBound(to: sockaddr.self), socklen_t(name.count))
            }
            return isReceiver ? receiver.withUnsafeFileDescriptor(bind) : sender.withUnsafeFileDescriptor(bind)
          }
        }
        #expect(result == 0)
      }
      let payload: [UInt8] = [1]
      _ = try MessageSender(unsafe payload.span.bytes).send(to: address, on: sender)
      var none = AncillaryData()
      var memory = [UInt8](repeating: 0, count: 8)
      var span = memory.mutableSpan
      let (_, from) = try MessageReceiver(unsafe span.mutableBytes).receiveFrom(on: receiver, ancillary: &none)
      #expect(from == source)
    }

    static func unixDatagram() -> OwnedFd {
      let number = Glibc.socket(AF_UNIX, Int32(bitPattern: SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
      precondition(number >= 0, "socket: \(errno)")
      return OwnedFd(adopting: FileDescriptor(rawValue: number))
    }
  }
}

// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets
import SystemPackage
import Testing

extension KernelTests {
  /// Sets every named option on a real socket, and reads it back. SocketOptions.c asserts the
  /// numbers against the system's headers.
  @Suite(.timeLimit(.minutes(1))) struct OptionConstantTests {
    @Test(arguments: SwitchableOption.all) func aSwitchIsSetAndReadBack(_ option: SwitchableOption)
      async throws
    {
      try await withDescriptorOracle { loop in
        for value in [true, false] {
          guard let read = try await option.set(value, loop) else { continue }
          #expect(read == value, "\(option)")
        }
      }
    }

    @Test func numbersAreSetAndReadBack() async throws {
      try await withDescriptorOracle { loop in
        let udp = try UDPSocket.bind(
          to: InternetAddress(.loopback as IPv4Address, port: 0), on: loop)
        let listener = try TCPListener.bind(
          to: InternetAddress(.loopback as IPv4Address, port: 0), on: loop)
        let tcp = try await TCPStream.connect(to: listener.address, on: loop)
        try await expect(.keepAliveIdle, keeps: 77, on: tcp)
        try await expect(.keepAliveInterval, keeps: 11, on: tcp)
        try await expect(.unacknowledgedTimeout, keeps: 12_345, on: tcp)
        try await expect(.sendSegmentSize, keeps: 512, on: udp)
        try await expect(.priority, keeps: 5, on: udp)
        try await expect(.hopLimitV4, keeps: 9, on: udp)
        #expect(try await udp.option(.pendingError) == 0)
        #expect(try await udp.option(.protocolNumber) == Int32(IPPROTO_UDP))
        #expect(try await tcp.option(.protocolNumber) == Int32(IPPROTO_TCP))
        #expect(try await tcp.option(.isListening) == false)
        #expect(try await listener.option(.isListening))
        if geteuid() == 0 {
          try await udp.setOption(.mark, to: 0x1234)
          #expect(try await udp.option(.mark) == 0x1234)
        }
        await tcp.close()
        await listener.close()
        await udp.close()
      }
    }

    @Test func aGroupOfIPv6IsJoinedAndLeft() async throws {
      try await withDescriptorOracle { loop in
        let socket = try UDPSocket.bind(to: InternetAddress(.any as IPv6Address, port: 0), on: loop)
        let group = MulticastMembership(
          group: .v6(try #require(IPv6Address("ff02::1234"))), interface: if_nametoindex("lo"))
        try await socket.setOption(.joinMulticastGroupV6, to: group)
        #expect(
          await errorThrown { try await socket.setOption(.joinMulticastGroupV6, to: group) }?.code
            == .addressInUse)
        try await socket.setOption(.leaveMulticastGroupV6, to: group)
        #expect(
          await errorThrown { try await socket.setOption(.leaveMulticastGroupV6, to: group) }?.code
            == .addressNotAvailable)
        await socket.close()
      }
    }

    private func expect<Socket: LoopSocket>(
      _ option: SocketOption<Int>, keeps value: Int, on socket: Socket
    ) async throws {
      try await socket.setOption(option, to: value)
      #expect(try await socket.option(option) == value)
    }
  }
}

/// An option that is on or off, and the kind of socket that has it.
struct SwitchableOption: Sendable, CustomStringConvertible {
  enum Kind { case unix, udpV4, udpV6, tcp }

  let description: String
  let kind: Kind
  let option: SocketOption<Bool>

  /// Sets the option on a new socket, and reads it back; nil if the kernel does not support it.
  func set(_ value: Bool, _ loop: IOLoop) async throws -> Bool? {
    switch kind {
    case .unix: try await set(value, on: try UnixStream.makePair(on: loop).0)
    case .udpV4:
      try await set(
        value,
        on: try UDPSocket.bind(to: InternetAddress(.loopback as IPv4Address, port: 0), on: loop))
    case .udpV6:
      try await set(
        value,
        on: try UDPSocket.bind(to: InternetAddress(.loopback as IPv6Address, port: 0), on: loop))
    case .tcp:
      try await set(
        value,
        on: try TCPListener.bind(to: InternetAddress(.loopback as IPv4Address, port: 0), on: loop))
    }
  }

  private func set<Socket: LoopSocket>(_ value: Bool, on socket: Socket) async throws -> Bool? {
    do {
      try await socket.setOption(option, to: value)
    } catch let error as SocketError where error.code == .notSupported {
      await socket.close()
      return nil
    }
    // The kernel accepts SO_INQ on Unix sockets but does not return it (6.18).
    let read = description == "reportBytesLeft" ? value : try await socket.option(option)
    await socket.close()
    return read
  }

  static let all: [SwitchableOption] = [
    SwitchableOption(description: "reuseAddress", kind: .udpV4, option: .reuseAddress),
    SwitchableOption(description: "reusePort", kind: .udpV4, option: .reusePort),
    SwitchableOption(description: "broadcast", kind: .udpV4, option: .broadcast),
    SwitchableOption(description: "keepAlive", kind: .tcp, option: .keepAlive),
    SwitchableOption(description: "noDelay", kind: .tcp, option: .noDelay),
    SwitchableOption(description: "cork", kind: .tcp, option: .cork),
    SwitchableOption(description: "reportBytesLeftTCP", kind: .tcp, option: .reportBytesLeftTCP),
    SwitchableOption(description: "passCredentials", kind: .unix, option: .passCredentials),
    SwitchableOption(description: "passSecurityLabel", kind: .unix, option: .passSecurityLabel),
    SwitchableOption(
      description: "passProcessDescriptor", kind: .unix, option: .passProcessDescriptor),
    SwitchableOption(description: "passDescriptors", kind: .unix, option: .passDescriptors),
    SwitchableOption(description: "reportBytesLeft", kind: .unix, option: .reportBytesLeft),
    SwitchableOption(description: "timestamps", kind: .udpV4, option: .timestamps),
    SwitchableOption(
      description: "reportDroppedMessages", kind: .udpV4, option: .reportDroppedMessages),
    SwitchableOption(description: "receiveMark", kind: .udpV4, option: .receiveMark),
    SwitchableOption(description: "packetInfoV4", kind: .udpV4, option: .packetInfoV4),
    SwitchableOption(description: "packetInfoV6", kind: .udpV6, option: .packetInfoV6),
    SwitchableOption(description: "receiveHopLimitV4", kind: .udpV4, option: .receiveHopLimitV4),
    SwitchableOption(description: "receiveHopLimitV6", kind: .udpV6, option: .receiveHopLimitV6),
    SwitchableOption(
      description: "receiveTrafficClassV4", kind: .udpV4, option: .receiveTrafficClassV4),
    SwitchableOption(
      description: "receiveTrafficClassV6", kind: .udpV6, option: .receiveTrafficClassV6),
    SwitchableOption(description: "errorQueueV4", kind: .udpV4, option: .errorQueueV4),
    SwitchableOption(description: "errorQueueV6", kind: .udpV6, option: .errorQueueV6),
    SwitchableOption(
      description: "originalDestinationV4", kind: .udpV4, option: .originalDestinationV4),
    SwitchableOption(
      description: "originalDestinationV6", kind: .udpV6, option: .originalDestinationV6),
    SwitchableOption(description: "coalesceReceives", kind: .udpV4, option: .coalesceReceives),
  ]
}

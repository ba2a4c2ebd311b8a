// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets
import SystemPackage
import Testing

extension KernelTests {
  /// Options that must be set before a socket is bound or connected, and options of listeners.
  @Suite(.timeLimit(.minutes(1))) struct SettingsTests {
    @Test func anIPv6ListenerLeavesThePortToIPv4() async throws {
      try await withDescriptorOracle { _ in
        let first = try TCPListener.bind(
          to: InternetAddress(.any as IPv6Address, port: 0),
          settings: [SocketSetting(.onlyV6, true)])
        let second = try TCPListener.bind(
          to: InternetAddress(.any as IPv4Address, port: first.address.port))
        #expect(second.address.port == first.address.port)
        #expect(try await first.option(.onlyV6))
        await first.close()
        await second.close()
      }
    }

    @Test func twoUDPSocketsShareAPort() async throws {
      try await withDescriptorOracle { _ in
        let settings = [SocketSetting(.reusePort, true)]
        let first = try UDPSocket.bind(
          to: InternetAddress(.loopback as IPv4Address, port: 0), settings: settings)
        let address = try #require(try await first.localAddress()?.internet)
        #expect(await errorThrown { _ = try UDPSocket.bind(to: address) }?.code == .addressInUse)
        let second = try UDPSocket.bind(to: address, settings: settings)
        await first.close()
        await second.close()
      }
    }

    @Test func whatWasSentBeforeTheAcceptNamesItsSender() async throws {
      try await withDescriptorOracle { _ in
        let listener = try UnixListener<UnixSeqpacket>.bind(
          to: try .unused(), settings: [SocketSetting(.passCredentials, true)])
        #expect(try await listener.option(.passCredentials))
        let client = try await UnixSeqpacket.connect(to: listener.address)
        try await client.sendMessage([1])
        let connection = try await listener.accept()
        #expect(try await connection.receiveMessage()?.credentials?.processID == getpid())
        await client.close()
        await connection.close()
        await listener.close()
      }
    }

    @Test func aSettingThatFailsLeavesNothingOpen() async throws {
      try await withDescriptorOracle { _ in
        let nonsense = SocketSetting(SocketOption<Int>(level: 1, name: 9999), 1)
        #expect(
          await errorThrown {
            _ = try UnixListener<UnixStream>.bind(to: try .unused(), settings: [nonsense])
          }?.code == .notSupported)
      }
    }

    @Test func datagramsNameTheirSenders() async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixDatagram.makePair()
        try await right.identifySenders()
        try await left.sendMessage([1])
        #expect(try await right.receiveMessage()?.credentials?.processID == getpid())
        await left.close()
        await right.close()
      }
    }

    @Test(arguments: [nil, 0, 7] as [Int32?]) func lingering(seconds: Int32?) async throws {
      try await withDescriptorOracle { _ in
        let listener = try TCPListener.bind(to: InternetAddress(.loopback as IPv4Address, port: 0))
        let client = try await TCPStream.connect(
          to: listener.address, settings: [SocketSetting(.linger, Linger(seconds: seconds))])
        #expect(try await client.option(.linger) == Linger(seconds: seconds))
        await client.close()
        await listener.close()
      }
    }

    @Test func aGroupIsJoinedAndLeft() async throws {
      try await withDescriptorOracle { _ in
        let group = try #require(IPv4Address("239.255.77.1"))
        let loopback = MulticastMembership(
          group: .v4(group), interface: UInt32(if_nametoindex("lo")))
        let receiver = try UDPSocket.bind(to: InternetAddress(.any as IPv4Address, port: 0))
        let port = try #require(try await receiver.localAddress()?.internet?.port)
        try await receiver.setOption(.joinMulticastGroupV4, to: loopback)
        let sender = try UDPSocket.bind(to: InternetAddress(.loopback as IPv4Address, port: 0))
        try await sender.sendMessage([1, 2], to: InternetAddress(group, port: port))
        #expect(try await receiver.receiveMessage()?.payload == [1, 2])
        try await receiver.setOption(.leaveMulticastGroupV4, to: loopback)
        // A socket that is not a member cannot leave the group.
        await #expect(throws: SocketError.self) {
          try await receiver.setOption(.leaveMulticastGroupV4, to: loopback)
        }
        await receiver.close()
        await sender.close()
      }
    }

    @Test func aListenerIsGivenAway() async throws {
      try await withTemporaryPath { path in
        try await withDescriptorOracle { _ in
          let first = try UnixListener<UnixStream>.bind(to: UnixAddress(path: path))
          let client = try await UnixStream.connect(to: first.address)
          let second = try UnixListener<UnixStream>(adopting: try await first.release())
          #expect(try await second.localAddress()?.unix == first.address)
          // The connection waited in the listener, whose file still exists.
          let connection = try await second.accept()
          let another = try await UnixStream.connect(to: first.address)
          #expect(await codeThrown { _ = try await first.accept() } == .closed)
          await client.close()
          await another.close()
          await connection.close()
          await second.close()
        }
      }
    }
  }
}

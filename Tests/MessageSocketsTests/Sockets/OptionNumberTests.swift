// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets
import Testing

/// Each constant of a socket option has the number of the option that its name says. The C target
/// asserts its numbers against the headers; this checks the Swift names.
@Suite struct OptionNumberTests {
  private func expect<Value>(
    _ option: SocketOption<Value>, _ level: Int, _ name: Int32,
    sourceLocation: SourceLocation = #_sourceLocation
  ) {
    #expect(
      (option.level, option.name) == (Int32(level), name), sourceLocation: sourceLocation)
  }

  @Test func optionsOfSockets() {
    let level = Int(SOL_SOCKET)
    expect(.reuseAddress, level, SO_REUSEADDR)
    expect(.reusePort, level, SO_REUSEPORT)
    expect(.broadcast, level, SO_BROADCAST)
    expect(.keepAlive, level, SO_KEEPALIVE)
    expect(.passCredentials, level, SO_PASSCRED)
    expect(.passSecurityLabel, level, SO_PASSSEC)
    expect(.timestamps, level, SO_TIMESTAMPNS)
    expect(.reportDroppedMessages, level, SO_RXQ_OVFL)
    expect(.receiveMark, level, SO_RCVMARK)
    expect(.isListening, level, SO_ACCEPTCONN)
    expect(.sendBufferSize, level, SO_SNDBUF)
    expect(.receiveBufferSize, level, SO_RCVBUF)
    expect(.pendingError, level, SO_ERROR)
    expect(.timestamping, level, SO_TIMESTAMPING)
    expect(.priority, level, SO_PRIORITY)
    expect(.mark, level, SO_MARK)
    expect(.family, level, SO_DOMAIN)
    expect(.type, level, SO_TYPE)
    expect(.protocolNumber, level, SO_PROTOCOL)
    expect(.linger, level, SO_LINGER)
    // Newer than the headers; these are the kernel's numbers in include/uapi/asm-generic/socket.h.
    expect(.passProcessDescriptor, level, 76)
    expect(.passDescriptors, level, 83)
    expect(.reportBytesLeft, level, 84)
  }

  @Test func optionsOfVsock() {
    expect(.vsockBufferSize, Int(AF_VSOCK), 0)
    expect(.vsockMaximumBufferSize, Int(AF_VSOCK), 2)
    expect(.vsockConnectTimeout, Int(AF_VSOCK), 6)
  }

  @Test func theConnectTimeoutIsAPairOfNumbers() {
    let timeout = VsockConnectTimeout(.milliseconds(2500) + .nanoseconds(999))
    #expect(timeout.duration == .milliseconds(2500))
    let bytes = timeout.optionBytes
    #expect(bytes == [2, 0, 0, 0, 0, 0, 0, 0, 0x20, 0xA1, 7, 0, 0, 0, 0, 0])
    #expect(VsockConnectTimeout(optionBytes: bytes) == timeout)
    #expect(VsockConnectTimeout(optionBytes: Array(bytes.dropLast())) == nil)
  }

  @Test func optionsOfTCPAndUDP() {
    let (tcp, udp) = (Int(IPPROTO_TCP), Int(IPPROTO_UDP))
    expect(.noDelay, tcp, TCP_NODELAY)
    expect(.cork, tcp, TCP_CORK)
    expect(.keepAliveIdle, tcp, TCP_KEEPIDLE)
    expect(.keepAliveInterval, tcp, TCP_KEEPINTVL)
    expect(.unacknowledgedTimeout, tcp, TCP_USER_TIMEOUT)
    expect(.reportBytesLeftTCP, tcp, TCP_INQ)
    // include/uapi/linux/udp.h.
    expect(.sendSegmentSize, udp, 103)
    expect(.coalesceReceives, udp, 104)
  }

  @Test func optionsOfIPv4() {
    let level = Int(IPPROTO_IP)
    expect(.packetInfoV4, level, IP_PKTINFO)
    expect(.receiveHopLimitV4, level, IP_RECVTTL)
    expect(.receiveTrafficClassV4, level, IP_RECVTOS)
    expect(.errorQueueV4, level, IP_RECVERR)
    expect(.originalDestinationV4, level, IP_RECVORIGDSTADDR)
    expect(.hopLimitV4, level, IP_TTL)
    expect(.trafficClassV4, level, IP_TOS)
    expect(.joinMulticastGroupV4, level, MCAST_JOIN_GROUP)
    expect(.leaveMulticastGroupV4, level, MCAST_LEAVE_GROUP)
  }

  @Test func optionsOfIPv6() {
    let level = Int(IPPROTO_IPV6)
    expect(.packetInfoV6, level, IPV6_RECVPKTINFO)
    expect(.receiveHopLimitV6, level, IPV6_RECVHOPLIMIT)
    expect(.receiveTrafficClassV6, level, IPV6_RECVTCLASS)
    expect(.errorQueueV6, level, IPV6_RECVERR)
    expect(.originalDestinationV6, level, IPV6_RECVORIGDSTADDR)
    expect(.onlyV6, level, IPV6_V6ONLY)
    expect(.hopLimitV6, level, IPV6_UNICAST_HOPS)
    expect(.trafficClassV6, level, IPV6_TCLASS)
    expect(.joinMulticastGroupV6, level, MCAST_JOIN_GROUP)
    expect(.leaveMulticastGroupV6, level, MCAST_LEAVE_GROUP)
  }

  @Test func familiesAndSeals() {
    #expect(SocketFamily.unix.rawValue == AF_UNIX)
    #expect(SocketFamily.internetV4.rawValue == AF_INET)
    #expect(SocketFamily.internetV6.rawValue == AF_INET6)
    // include/uapi/linux/fcntl.h.
    let seals: [FileSeals] = [.seal, .shrink, .grow, .write, .futureWrite, .executable]
    #expect(seals.map(\.rawValue) == [1, 2, 4, 8, 16, 32])
  }
}

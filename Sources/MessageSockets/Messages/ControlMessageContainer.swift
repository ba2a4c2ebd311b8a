// SPDX-License-Identifier: Apache-2.0
public import Ancillary

/// A received message with its control messages: ``ReceivedMessage``, ``ReceivedEnvelope``.
///
/// The kinds that are usual are properties. A kind that did not come, or that cannot be read, is
/// nil: the kernel writes these, and ``control`` has the bytes.
public protocol ControlMessageContainer: ~Copyable {
  /// All control messages as they arrived, unknown kinds included, if there were others than
  /// descriptors; in the places of descriptors stands -1.
  var control: ControlMessageBuffer { get }
}

extension ControlMessageContainer where Self: ~Copyable {
  /// The sender's security label, with ``SocketOption/passSecurityLabel``. The C name is
  /// `SCM_SECURITY`.
  public var securityLabel: SecurityLabel? { first() }

  /// When the message arrived, with ``SocketOption/timestamps``. The C name is `SCM_TIMESTAMPNS`.
  public var timestamp: Timestamp? { first() }

  /// When the packet was sent or arrived, with ``SocketOption/timestamping``. The C name is
  /// `SCM_TIMESTAMPING`.
  public var packetTimestamps: PacketTimestamps? { first() }

  /// Bytes that were left to read, with ``SocketOption/reportBytesLeft``. The C names are
  /// `SCM_INQ`, `TCP_CM_INQ`.
  public var bytesLeft: Int? { first(QueuedByteCount.self).map { Int($0.value) } }

  /// How many messages the socket has dropped so far, with ``SocketOption/reportDroppedMessages``.
  /// The C name is `SO_RXQ_OVFL`.
  public var droppedMessages: Int? { first(DroppedMessageCount.self).map { Int($0.value) } }

  /// The destination address and interface of the packet (IPv4), with
  /// ``SocketOption/packetInfoV4``. The C name is `IP_PKTINFO`.
  public var packetInfoV4: PacketInfoV4? { first() }

  /// The destination address and interface of the packet (IPv6), with
  /// ``SocketOption/packetInfoV6``. The C name is `IPV6_PKTINFO`.
  public var packetInfoV6: PacketInfoV6? { first() }

  /// How many hops the packet had left, with ``SocketOption/receiveHopLimitV4``. The C names are
  /// `IP_TTL`, `IPV6_HOPLIMIT`.
  public var hopLimit: HopLimit? { first() }

  /// Type of service and ECN, with ``SocketOption/receiveTrafficClassV4``. The C names are
  /// `IP_TOS`, `IPV6_TCLASS`.
  public var trafficClass: TrafficClass? { first() }

  /// The length of each message in a payload of several joined messages, with
  /// ``SocketOption/coalesceReceives``. The C name is `UDP_GRO`.
  public var segmentSize: Int? { first(CoalescedSegmentSize.self).map { Int($0.value) } }

  /// The error that an entry of the error queue reports, and its reporter. The C names are
  /// `IP_RECVERR`, `struct sock_extended_err`.
  public var extendedError: ExtendedError? { first() }

  /// The address that a redirected packet was meant for, with
  /// ``SocketOption/originalDestinationV4``. The C name is `IP_ORIGDSTADDR`.
  public var originalDestination: OriginalDestination? { first() }

  private func first<Kind: DecodableControlMessage>(_ kind: Kind.Type = Kind.self) -> Kind? {
    if control.isEmpty { return nil }
    let control = control
    let messages = control.messages
    do throws(AncillaryError) {
      return try messages.first(kind)
    } catch { return nil }
  }
}

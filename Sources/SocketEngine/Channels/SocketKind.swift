// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets

/// How a socket delivers; decides what an empty message and a short send mean.
public enum SocketKind: Sendable {
  /// `SOCK_STREAM`: bytes in order; an empty read is the end.
  case stream
  /// `SOCK_SEQPACKET`: messages in order, whole, on a connection that ends.
  case seqpacket
  /// `SOCK_DGRAM`, `SOCK_RAW`: messages, whole, each with its sender; there is no end.
  case datagram

  /// `SOCK_STREAM`, `SOCK_SEQPACKET`, `SOCK_DGRAM`.
  package var type: Int32 {
    switch self {
    case .stream: cms_socket_stream
    case .seqpacket: cms_socket_seqpacket
    case .datagram: cms_socket_datagram
    }
  }
}

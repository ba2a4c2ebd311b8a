internal import CMessageSockets

/// What kind of connected Unix socket it is; decides what an empty message and a short send mean.
public enum SocketKind: Sendable {
  /// `SOCK_STREAM`: bytes in order; an empty read is the end.
  case stream
  /// `SOCK_SEQPACKET`: messages in order, whole.
  case seqpacket

  /// `SOCK_STREAM`, `SOCK_SEQPACKET`.
  package var type: Int32 {
    switch self {
    case .stream: cms_socket_stream
    case .seqpacket: cms_socket_seqpacket
    }
  }
}

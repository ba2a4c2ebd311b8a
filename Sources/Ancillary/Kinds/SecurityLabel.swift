internal import CMessageSockets

/// The sender's security label (SELinux context, Smack label). The C name is `SCM_SECURITY` (Linux 2.6.18, with
/// `SO_PASSSEC` set on the receiver).
///
/// The kernel attaches it; it cannot be sent. Without a security module that labels sockets there is none.
public struct SecurityLabel: Hashable, Sendable {
  /// The label, without the NUL that some modules put at its end. Its length has no fixed limit: reserve what your
  /// policy needs.
  public let bytes: [UInt8]

  public init(bytes: [UInt8]) { self.bytes = bytes }

  /// The label as text; bytes that are not UTF-8 are replaced.
  public var text: String { String(decoding: bytes, as: UTF8.self) }
}

extension ControlMessageKind {
  /// The C name is `SCM_SECURITY` (Linux).
  public static var securityLabel: ControlMessageKind {
    ControlMessageKind(level: CMS_SOL_SOCKET, type: CMS_SCM_SECURITY)
  }
}

extension SecurityLabel: DecodableControlMessage {
  public static func matches(_ kind: ControlMessageKind) -> Bool { kind == .securityLabel }

  public init(decoding message: borrowing ControlMessage) throws(AncillaryError) {
    guard Self.matches(message.kind) else { throw AncillaryError(.wrongKind) }
    var bytes = message.data.copyToArray()
    if bytes.last == 0 { bytes.removeLast() }
    self.init(bytes: bytes)
  }
}

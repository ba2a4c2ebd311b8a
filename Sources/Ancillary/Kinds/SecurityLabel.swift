// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets

/// The sender's security label (SELinux context, Smack label). The C name is `SCM_SECURITY` (Linux
/// 2.6.18, with `SO_PASSSEC` set on the receiver).
///
/// The kernel attaches it; it cannot be sent. Without a security module that labels sockets there
/// is none.
public struct SecurityLabel: Hashable, Sendable {
  /// The label, without the NUL that some modules put at its end. Its length has no fixed limit:
  /// reserve what your policy needs.
  public let bytes: [UInt8]

  /// Any label.
  public init(bytes: [UInt8]) { self.bytes = bytes }

  /// The label as text; bytes that are not UTF-8 are replaced. For a log take the description.
  public var text: String { String(decoding: bytes, as: UTF8.self) }
}

extension SecurityLabel: CustomStringConvertible {
  /// A text for logs: the label, with `\xNN` for bytes that would not be seen.
  public var description: String { String(visible: bytes) }
}

extension ControlMessageKind {
  /// The C name is `SCM_SECURITY` (Linux).
  public static var securityLabel: ControlMessageKind {
    ControlMessageKind(level: cms_sol_socket, type: cms_scm_security)
  }
}

extension SecurityLabel: DecodableControlMessage {
  /// Reads ``ControlMessageKind/securityLabel`` alone.
  public static func matches(_ kind: ControlMessageKind) -> Bool { kind == .securityLabel }

  /// Reads a label of any length.
  ///
  /// - Throws: ``AncillaryError/Code/wrongKind``; ``AncillaryError/Code/malformedData`` for the
  ///   beginning of a longer label (``ControlMessage/isTruncated``). Linux shortens the header as
  ///   well, so there the flags of the receive must be looked at
  ///   (``ReceiveFlags/controlTruncated``) before a label is believed.
  public init(decoding message: borrowing ControlMessage) throws(AncillaryError) {
    guard Self.matches(message.kind) else { throw AncillaryError(.wrongKind) }
    guard !message.isTruncated else {
      throw AncillaryError(.malformedData, actual: message.data.byteCount)
    }
    var bytes = message.data.copyToArray()
    if bytes.last == 0 { bytes.removeLast() }
    self.init(bytes: bytes)
  }
}

// SPDX-License-Identifier: Apache-2.0
/// One control message, borrowed from the buffer that it lies in. The C name is `struct cmsghdr`.
///
/// Nothing is checked but the length: what the payload means is up to the type that decodes it
/// (``decode(as:)``).
public struct ControlMessage: ~Escapable {
  /// The kind of the message: level and type together.
  public let kind: ControlMessageKind

  /// The payload, without header and padding; at any alignment. The C name is `CMSG_DATA`.
  public let data: RawSpan

  /// Whether the header promises more payload than the buffer holds; ``data`` then is the fragment
  /// that is there.
  ///
  /// Linux shortens the header with the payload, so there a truncated receive is only seen in the
  /// flags of the receive (``ReceiveFlags/controlTruncated``); other systems leave the full length.
  public let isTruncated: Bool

  /// A message over any payload.
  @_lifetime(copy data)
  public init(kind: ControlMessageKind, data: RawSpan, isTruncated: Bool = false) {
    self.kind = kind
    self.data = data
    self.isTruncated = isTruncated
  }

  /// A message over any payload, with the header's two numbers.
  @_lifetime(copy data)
  public init(level: Int32, type: Int32, data: RawSpan, isTruncated: Bool = false) {
    self.init(
      kind: ControlMessageKind(level: level, type: type), data: data, isTruncated: isTruncated)
  }

  /// The C name is `cmsg_level`.
  public var level: Int32 { kind.level }

  /// The C name is `cmsg_type`.
  public var type: Int32 { kind.type }
}

/// The kind of a control message: the pair of `cmsg_level` and `cmsg_type`.
///
/// Any pair can be made, so kinds that this module does not know work as well. The kinds it knows
/// are static members (`.rights`, `.credentials` …); a type behind ``DecodableControlMessage``
/// gives each its values.
public struct ControlMessageKind: Hashable, Sendable {
  /// The protocol that defines the type. The C name is `cmsg_level` (`SOL_SOCKET`, `IPPROTO_IP` …).
  public let level: Int32

  /// The type within the level. The C name is `cmsg_type` (`SCM_RIGHTS`, `IP_PKTINFO` …).
  public let type: Int32

  /// Any pair of numbers.
  public init(level: Int32, type: Int32) {
    self.level = level
    self.type = type
  }
}

extension ControlMessageKind: CustomStringConvertible {
  /// A text for logs: `control message 1/2`.
  public var description: String { "control message \(level)/\(type)" }
}

/// One control message that shares the storage of the ``ControlMessageBuffer`` it came from: it may
/// be kept, and handed to another task.
public struct StoredControlMessage: Sendable {
  private let storage: [UInt8]
  private let range: Range<Int>

  /// The kind of the message: level and type together.
  public let kind: ControlMessageKind

  /// Whether the header promises more payload than there is.
  public let isTruncated: Bool

  init(_ extent: ControlMessageExtent, in storage: [UInt8]) {
    self.storage = storage
    range = extent.data
    kind = extent.kind
    isTruncated = extent.isTruncated
  }

  /// The payload.
  public var data: RawSpan {
    @_lifetime(borrow self)
    borrowing get {
      // SAFETY: every byte of a byte array is initialized.
      unsafe storage.span.bytes.extracting(range)
    }
  }

  /// The message, borrowed: to decode it, or to append it elsewhere.
  public var message: ControlMessage {
    @_lifetime(borrow self)
    borrowing get { ControlMessage(kind: kind, data: data, isTruncated: isTruncated) }
  }

  /// This message as a typed kind; `nil` when it is of another kind.
  ///
  /// - Throws: ``AncillaryError/Code/malformedData`` when it is of that kind but its payload is
  ///   not.
  public func decode<T: DecodableControlMessage & ~Copyable>(as type: T.Type = T.self)
    throws(AncillaryError) -> T?
  {
    try message.decode(as: type)
  }
}

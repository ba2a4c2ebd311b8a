// SPDX-License-Identifier: Apache-2.0
/// One control message, borrowed from the buffer that it lies in. The C name is `struct cmsghdr`.
///
/// Nothing is checked but the length: what the payload means is up to the type that decodes it
/// (``decode(as:)``).
public struct ControlMessage: ~Escapable {
  /// What it is about: level and type together.
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

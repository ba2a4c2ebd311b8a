// SPDX-License-Identifier: Apache-2.0
/// A value that can be read from a control message. Third parties conform their own types for kinds
/// this module does not know.
///
/// Decoding must take any payload: peers and newer kernels send what they like.
public protocol DecodableControlMessage: ~Copyable {
  /// Whether a message of this kind holds such a value.
  static func matches(_ kind: ControlMessageKind) -> Bool

  /// Reads the value.
  ///
  /// - Throws: ``AncillaryError/Code/malformedData`` when the payload has not the length or shape
  ///   of this kind, ``AncillaryError/Code/wrongKind`` when the message is of another kind.
  init(decoding message: borrowing ControlMessage) throws(AncillaryError)
}

/// A value that can be written as a control message.
public protocol EncodableControlMessage {
  /// The level and type to write.
  var kind: ControlMessageKind { get }

  /// The length of the payload in bytes, without header and padding.
  var encodedByteCount: Int { get }

  /// Appends exactly ``encodedByteCount`` bytes. There is room for them.
  @_lifetime(output: copy output)
  func encode(into output: inout OutputRawSpan)
}

extension EncodableControlMessage {
  /// How many bytes of buffer this message takes, with header and padding. The C name is
  /// `CMSG_SPACE`.
  public var space: Int { ControlMessages.space(for: encodedByteCount) }
}

extension ControlMessage {
  /// This message as a typed kind; `nil` when it is of another kind.
  ///
  /// - Throws: ``AncillaryError/Code/malformedData`` when it is of that kind but its payload is
  ///   not.
  public func decode<T: DecodableControlMessage & ~Copyable>(as type: T.Type = T.self)
    throws(AncillaryError) -> T?
  {
    guard T.matches(kind) else { return nil }
    return try T(decoding: self)
  }

  /// Throws unless this message has a kind that `T` decodes and a payload of exactly `byteCount`
  /// bytes.
  func check<T: DecodableControlMessage & ~Copyable>(_ type: T.Type, byteCount: Int)
    throws(AncillaryError)
  {
    guard T.matches(kind) else { throw AncillaryError(.wrongKind) }
    guard data.byteCount == byteCount, !isTruncated else {
      throw AncillaryError(.malformedData, actual: data.byteCount, limit: byteCount)
    }
  }
}

extension ControlMessages {
  /// The first message of a typed kind, decoded; `nil` when there is none.
  ///
  /// - Throws: ``AncillaryError/Code/malformedData`` when the first of that kind cannot be read.
  public func first<T: DecodableControlMessage & ~Copyable>(_ type: T.Type = T.self)
    throws(AncillaryError) -> T?
  {
    var iterator = makeIterator()
    while let message = iterator.next() {
      if T.matches(message.kind) { return try T(decoding: message) }
    }
    return nil
  }
}

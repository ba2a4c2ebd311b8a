// SPDX-License-Identifier: Apache-2.0
/// A walk over the control messages of a buffer. The C names are `CMSG_FIRSTHDR` and `CMSG_NXTHDR`.
///
/// Unlike the C macros it takes any alignment and any bytes, compares lengths without overflow, and
/// hides no last message when the buffer's length is not a multiple of eight.
public struct ControlMessageIterator: ~Escapable {
  private let bytes: RawSpan
  private var offset: Int

  @_lifetime(copy bytes)
  init(_ bytes: RawSpan) {
    self.bytes = bytes
    self.offset = 0
  }

  /// The next message; `nil` at the end, or where the bytes stop being control messages (see
  /// ``remainder``).
  @_lifetime(copy self)
  @inline(__always)
  public mutating func next() -> ControlMessage? {
    guard let extent = ControlMessageExtent(in: bytes, at: offset) else { return nil }
    let message = ControlMessage(
      kind: extent.kind, data: bytes.extracting(extent.data), isTruncated: extent.isTruncated)
    offset = extent.next
    return message
  }

  /// The bytes not walked yet. After ``next()`` has returned `nil`: empty, or the fragment that
  /// could not be read as a message.
  public var remainder: RawSpan {
    @_lifetime(copy self)
    get { bytes.extracting(offset..<bytes.byteCount) }
  }
}

/// The position of one control message in a buffer. No other code reads a `cmsghdr`.
struct ControlMessageExtent {
  let kind: ControlMessageKind
  /// The part of the payload that is present.
  let data: Range<Int>
  /// Where the next header would start: at most the end of the buffer.
  let next: Int
  let isTruncated: Bool

  /// Reads the header at `offset`; `nil` if the header is incomplete or its length does not cover
  /// the header itself.
  @inline(__always)
  init?(in bytes: RawSpan, at offset: Int) {
    let available = bytes.byteCount - offset
    guard available >= ControlMessageLayout.headerSize else { return nil }
    let stated = bytes.load(ControlMessageLayout.Length.self, at: offset)
    guard stated >= ControlMessageLayout.headerSize else { return nil }

    kind = ControlMessageKind(
      level: bytes.load(at: offset + ControlMessageLayout.levelOffset),
      type: bytes.load(at: offset + ControlMessageLayout.typeOffset))
    // Compared as unsigned, and limited to the available bytes before any addition, so that a
    // length near the maximum cannot overflow.
    isTruncated = stated > available
    let length = isTruncated ? available : Int(stated)
    data = offset + ControlMessageLayout.headerSize..<offset + length
    next = offset + min(ControlMessageLayout.align(length), available)
  }
}

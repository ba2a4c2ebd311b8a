// SPDX-License-Identifier: Apache-2.0
/// A buffer full of control messages, borrowed: the bytes at `msg_control` after recvmsg(2), or
/// before sendmsg(2).
///
/// Any bytes will do, at any alignment: each length is checked, reading stops at the first header
/// that makes no sense, and what lies behind it is the iterator's
/// ``ControlMessageIterator/remainder``. Nothing is copied or allocated, and descriptors in the
/// bytes stay plain numbers: taking ownership is ``ReceivedAncillary``'s work.
///
/// ```swift
/// var messages = ControlMessages(bytes).makeIterator()
/// while let message = messages.next() { print(message.kind, message.data.byteCount) }
/// ```
public struct ControlMessages: ~Escapable {
  /// The whole buffer.
  public let bytes: RawSpan

  /// The messages in any bytes, which are borrowed. Looks at nothing yet.
  @_lifetime(copy bytes)
  public init(_ bytes: RawSpan) { self.bytes = bytes }

  /// A fresh walk from the first message. (Types that borrow cannot be a `Sequence` yet, so there
  /// is no `for` loop.)
  @_lifetime(copy self)
  public func makeIterator() -> ControlMessageIterator { ControlMessageIterator(bytes) }

  /// Whether there is not a single message, though there may be a ``remainder``.
  public var isEmpty: Bool {
    var iterator = makeIterator()
    return iterator.next() == nil
  }

  /// How many messages there are. Walks the buffer.
  public var count: Int {
    var iterator = makeIterator()
    var count = 0
    while iterator.next() != nil { count += 1 }
    return count
  }

  /// The bytes behind the last message that could be read: empty, or the fragment of a truncated
  /// or malformed buffer.
  public var remainder: RawSpan {
    @_lifetime(copy self)
    get {
      var iterator = makeIterator()
      while iterator.next() != nil {}
      return iterator.remainder
    }
  }

  /// Calls `body` for each message, in the order of the buffer.
  public func forEach<E: Error>(_ body: (borrowing ControlMessage) throws(E) -> Void) throws(E) {
    var iterator = makeIterator()
    while let message = iterator.next() { try body(message) }
  }

  /// The first message of a kind.
  @_lifetime(copy self)
  public func first(of kind: ControlMessageKind) -> ControlMessage? {
    var iterator = makeIterator()
    while let message = iterator.next() {
      if message.kind == kind { return message }
    }
    return nil
  }
}

extension ControlMessages {
  /// How many descriptors one message can carry on Linux: the kernel's `SCM_MAX_FD`, 253 since
  /// 2.6.38 (unix(7)). With more, sendmsg(2) says `EINVAL`; this module throws
  /// ``AncillaryError/Code/tooManyDescriptors`` before any call.
  public static var maximumDescriptors: Int { 253 }

  /// How many bytes of buffer a message with a payload of `payload` bytes takes, padding included.
  /// The C name is `CMSG_SPACE`.
  ///
  /// - Precondition: `payload` is not negative (and not within a header of `Int.max`).
  public static func space(for payload: Int) -> Int {
    precondition(payload >= 0, "a negative length")
    return ControlMessageLayout.headerSize + ControlMessageLayout.align(payload)
  }

  /// The length in the header of a message with a payload of `payload` bytes: without padding at
  /// the end. The C name is `CMSG_LEN`.
  public static func length(for payload: Int) -> Int {
    precondition(payload >= 0, "a negative length")
    return ControlMessageLayout.headerSize + payload
  }

  /// `length`, rounded up to where the next message may start. The C name is `CMSG_ALIGN`.
  public static func align(_ length: Int) -> Int {
    precondition(length >= 0, "a negative length")
    return ControlMessageLayout.align(length)
  }

  /// How many bytes of buffer `count` descriptors in one message take.
  ///
  /// Room for an odd number always has room for one more, in the padding: the kernel uses it, so be
  /// ready to receive it.
  ///
  /// - Precondition: `count` is not negative.
  public static func space(forDescriptors count: Int) -> Int {
    space(for: count * MemoryLayout<Int32>.size)
  }
}

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

/// The memory layout of `struct cmsghdr`: the length in bytes including the header (`size_t` on
/// Linux, `socklen_t` on the BSDs), then level and type (`int`), then the payload at the next
/// aligned offset.
///
/// The tests compare it with the C macros for every payload length up to 2048. The BSD variants
/// have been compiled but not run.
enum ControlMessageLayout {
  /// `SOL_SOCKET`.
  #if os(Linux) || os(Android)
    static var socketLevel: Int32 { 1 }
  #else
    static var socketLevel: Int32 { 0xFFFF }
  #endif

  #if os(Linux) || os(Android)
    typealias Length = UInt
    static var alignment: Int { MemoryLayout<UInt>.size }
  #elseif canImport(Darwin)
    typealias Length = UInt32
    static var alignment: Int { 4 }
  #else
    typealias Length = UInt32
    static var alignment: Int { MemoryLayout<UInt>.size }
  #endif

  static var levelOffset: Int { MemoryLayout<Length>.size }
  static var typeOffset: Int { levelOffset + 4 }

  /// The size of the header itself, without the padding that may follow
  /// (`sizeof (struct cmsghdr)`).
  static var rawHeaderSize: Int { typeOffset + 4 }

  /// The offset of the payload: `CMSG_LEN(0)`.
  static var headerSize: Int { align(rawHeaderSize) }

  @inline(__always)
  static func align(_ length: Int) -> Int { (length + alignment - 1) & ~(alignment - 1) }
}

// SPDX-License-Identifier: Apache-2.0
#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// Cuts what a socket receives into frames: bytes in, frames out, no socket.
///
/// What a frame gets does not depend on how the kernel has split or merged the bytes. Descriptors
/// are attached to a receive, and belong to the frame that holds the receive's **last** byte: the
/// kernel ends a read behind the bytes that carry descriptors, but glues plain bytes in front of
/// them.
///
/// One receive is given in (``append(_:_:)``), then frames are taken out until there is none
/// (``next()``). So at most one receive and one incomplete frame are held.
package struct FrameDecoder<Attachment> {
  /// A frame as it stood in the stream.
  package struct Decoded {
    package var payload: ArraySlice<UInt8>
    /// Of a length-prefixed frame.
    package var header: FrameHeader?
    package var attachment: Attachment?
    package var descriptorCount: Int
  }

  /// What came with one receive.
  private struct Attached {
    var attachment: Attachment
    var count: Int
  }

  private let format: FrameFormat

  /// The last receive; what lies before `position` has been used.
  private var received: [UInt8] = []
  private var position = 0
  private var attached: Attached?

  /// The frame that is incomplete: its header, as far as it is there, the start of its payload, and
  /// what came with an earlier receive for it.
  private var headerBytes = HeaderBytes()
  private var header: FrameHeader?
  private var payload: [UInt8] = []
  private var ownAttached: Attached?

  private var failure: FramingError?

  package init(format: FrameFormat) { self.format = format }

  /// Whether a frame has begun and is incomplete.
  package var isInsideFrame: Bool {
    !payload.isEmpty || !headerBytes.isEmpty || header != nil || ownAttached != nil
  }

  /// Whether nothing is held: the last receive ended with a frame.
  package var isEmpty: Bool { received.isEmpty && attached == nil && !isInsideFrame }

  /// Gives in what one receive has brought.
  ///
  /// - Parameter attachment: What came with the bytes, and how many descriptors that are.
  /// - Precondition: ``next()`` has returned nil since the last receive.
  package mutating func append(_ bytes: [UInt8], _ attachment: (Attachment, count: Int)? = nil) {
    precondition(position == received.count, "Frames are left to take")
    received = bytes
    position = 0
    attached = attachment.map { Attached(attachment: $0.0, count: $0.count) }
  }

  /// The next whole frame; nil if more has to be received first.
  ///
  /// - Throws: ``FramingError``, from then on each time. The frames in front have been returned
  ///   before.
  package mutating func next() throws(FramingError) -> Decoded? {
    if let failure { throw failure }
    do throws(FramingError) {
      // An empty receive is not the start of a frame, but on a seqpacket socket it may bring
      // descriptors.
      if position == received.count, attached == nil { return nil }
      return switch format.boundary {
      case .zero: try nextTerminated()
      case .length: try nextPrefixed()
      }
    } catch {
      failure = error
      (received, position, payload) = ([], 0, [])
      (attached, ownAttached) = (nil, nil)
      (header, headerBytes) = (nil, HeaderBytes())
      throw error
    }
  }

  private mutating func nextTerminated() throws(FramingError) -> Decoded? {
    let end = firstZero()
    try checkSize(payload.count + (end ?? received.count) - position)
    guard let end else {
      try keepRest()
      return nil
    }
    return try finish(upTo: end, next: end + 1)
  }

  private mutating func nextPrefixed() throws(FramingError) -> Decoded? {
    if header == nil {
      header = try headerBytes.read(from: received, at: &position)
      if let header {
        try checkSize(header.length)
        try checkCount(header.descriptorCount)
      }
    }
    guard let header else {
      try keepRest()
      return nil
    }
    let missing = header.length - payload.count
    guard received.count - position >= missing else {
      // So that the payload is copied once. No memory is touched before bytes reach it.
      payload.reserveCapacity(header.length)
      try keepRest()
      return nil
    }
    let frame = try finish(upTo: position + missing, next: position + missing)
    guard frame.descriptorCount == header.descriptorCount else {
      throw FramingError(
        .descriptorCountDiffers,
        detail: "\(header.descriptorCount) announced, \(frame.descriptorCount) came")
    }
    return frame
  }

  /// The frame ends at `end`, and the next one begins at `next`.
  private mutating func finish(upTo end: Int, next: Int) throws(FramingError) -> Decoded {
    if next == received.count { try takeAttached() }
    let frame = Decoded(
      payload: takePayload(upTo: end), header: header, attachment: ownAttached?.attachment,
      descriptorCount: ownAttached?.count ?? 0)
    header = nil
    ownAttached = nil
    position = next
    if position == received.count { (received, position) = ([], 0) }
    return frame
  }

  /// Copied, if it stood between other frames: a small frame does not keep all of them in memory.
  private mutating func takePayload(upTo end: Int) -> ArraySlice<UInt8> {
    let last = received[position..<end]
    if !payload.isEmpty {
      payload += last
      defer { payload = [] }
      return payload[...]
    }
    return last.count >= received.count / 2 || ownAttached != nil ? last : Array(last)[...]
  }

  /// The receive is used up, and ends in the middle of a frame.
  private mutating func keepRest() throws(FramingError) {
    try takeAttached()
    if payload.capacity == 0, position == 0 {
      payload = received
    } else {
      payload += received[position...]
    }
    (received, position) = ([], 0)
  }

  /// The last byte of the receive lies in the frame that is being put together.
  private mutating func takeAttached() throws(FramingError) {
    guard let new = attached.take() else { return }
    guard ownAttached == nil else { throw FramingError(.descriptorsInPieces) }
    try checkCount(new.count)
    ownAttached = new
  }

  private func checkSize(_ size: Int) throws(FramingError) {
    guard size <= format.maximumSize else {
      throw FramingError(.frameTooLarge, detail: "at most \(format.maximumSize) bytes")
    }
  }

  private func checkCount(_ count: Int) throws(FramingError) {
    guard count <= format.maximumDescriptors else {
      throw FramingError(
        .tooManyDescriptors, detail: "\(count) of at most \(format.maximumDescriptors)")
    }
  }

  /// Only what has not been searched before is searched: the rest of the last receive.
  private func firstZero() -> Int? {
    unsafe received[position...].withUnsafeBytes { unsafe $0.firstZero }.map { position + $0 }
  }
}

extension UnsafeRawBufferPointer {
  /// Where the first NUL stands, counted from the start.
  var firstZero: Int? {
    // SAFETY: memchr(3) reads at most `count` bytes from the start, and returns a place among them.
    guard let start = baseAddress, let zero = unsafe memchr(start, 0, count) else {
      return nil
    }
    return unsafe UnsafeRawPointer(zero) - start
  }
}

// SPDX-License-Identifier: Apache-2.0
#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// Splits received bytes into frames: bytes in, frames out, no socket.
///
/// The result does not depend on how the kernel has split or merged the bytes. Descriptors are
/// attached to a receive, and belong to the frame that contains the receive's **last** byte: the
/// kernel ends a read after the bytes that carry descriptors, but may put plain bytes in front of
/// them.
///
/// The caller passes in one receive (``append(_:_:)``), then takes frames until there is none
/// (``next()``). So the decoder holds at most one receive and one incomplete frame.
package struct FrameDecoder<Attachment> {
  /// A frame as it appeared in the stream.
  package struct Decoded {
    package var payload: ArraySlice<UInt8>
    /// The header of a length-prefixed frame.
    package var header: FrameHeader?
    package var attachment: Attachment?
    package var descriptorCount: Int
  }

  /// The attachment of one receive.
  private struct Attached {
    var attachment: Attachment
    var count: Int
  }

  private let format: FrameFormat

  /// The last receive; the bytes before `position` have been used.
  private var received: [UInt8] = []
  private var position = 0
  private var attached: Attached?

  /// The incomplete frame: the available part of its header, the start of its payload, and the
  /// attachment of an earlier receive.
  private var headerBytes = HeaderBytes()
  private var header: FrameHeader?
  private var payload: [UInt8] = []
  private var ownAttached: Attached?

  private var failure: FramingError?

  package init(format: FrameFormat) { self.format = format }

  /// Whether a frame has begun but is incomplete.
  package var isInsideFrame: Bool {
    !payload.isEmpty || !headerBytes.isEmpty || header != nil || ownAttached != nil
  }

  /// Whether the decoder holds nothing: the last receive ended with a frame.
  package var isEmpty: Bool { received.isEmpty && attached == nil && !isInsideFrame }

  /// Passes in the bytes of one receive.
  ///
  /// - Parameter attachment: The descriptors' owner, and how many descriptors it holds.
  /// - Precondition: ``next()`` has returned nil since the last receive.
  package mutating func append(_ bytes: [UInt8], _ attachment: (Attachment, count: Int)? = nil) {
    precondition(position == received.count, "Frames are left to take")
    received = bytes
    position = 0
    attached = attachment.map { Attached(attachment: $0.0, count: $0.count) }
  }

  /// The next complete frame; nil if more must be received first.
  ///
  /// - Throws: ``FramingError``, and again on every later call. All frames before the error are
  ///   returned first.
  package mutating func next() throws(FramingError) -> Decoded? {
    if let failure { throw failure }
    do throws(FramingError) {
      // An empty receive does not start a frame, but on a seqpacket socket it may bring
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
      // Ensures that the payload is copied only once. Reserved memory is not touched before bytes
      // reach it.
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

  /// Finishes a frame that ends at `end`; the next one begins at `next`.
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

  /// Returns the payload. It is copied if other frames share the receive, so that a small frame
  /// does not keep all of them in memory.
  private mutating func takePayload(upTo end: Int) -> ArraySlice<UInt8> {
    let last = received[position..<end]
    if !payload.isEmpty {
      payload += last
      defer { payload = [] }
      return payload[...]
    }
    return last.count >= received.count / 2 || ownAttached != nil ? last : Array(last)[...]
  }

  /// Stores the rest of a receive that ends in the middle of a frame.
  private mutating func keepRest() throws(FramingError) {
    try takeAttached()
    if payload.capacity == 0, position == 0 {
      payload = received
    } else {
      payload += received[position...]
    }
    (received, position) = ([], 0)
  }

  /// Attaches the receive's descriptors to the current frame, which contains the last byte.
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

  /// Finds the first NUL in the last receive; earlier bytes were searched before.
  private func firstZero() -> Int? {
    unsafe received[position...].withUnsafeBytes { unsafe $0.firstZero }.map { position + $0 }
  }
}

extension UnsafeRawBufferPointer {
  /// The offset of the first NUL.
  var firstZero: Int? {
    // SAFETY: memchr(3) reads at most `count` bytes, and returns a pointer to one of them.
    guard let start = baseAddress, let zero = unsafe memchr(start, 0, count) else {
      return nil
    }
    return unsafe UnsafeRawPointer(zero) - start
  }
}

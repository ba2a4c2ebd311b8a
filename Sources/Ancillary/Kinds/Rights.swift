internal import CMessageSockets
public import SystemPackage

extension ControlMessageKind {
  /// Descriptors. The C name is `SCM_RIGHTS` (unix(7)).
  public static var rights: ControlMessageKind {
    ControlMessageKind(level: CMS_SOL_SOCKET, type: CMS_SCM_RIGHTS)
  }

  /// The sender's process as a descriptor. The C name is `SCM_PIDFD` (Linux 6.5, with `SO_PASSPIDFD` set on the receiver).
  public static var processDescriptor: ControlMessageKind {
    ControlMessageKind(level: CMS_SOL_SOCKET, type: CMS_SCM_PIDFD)
  }
}

extension OutputRawSpan {
  /// Appends one `SCM_RIGHTS` message with the numbers of `descriptors`; nothing for an empty span.
  @_lifetime(self: copy self)
  mutating func appendRights(_ descriptors: Span<OwnedFd>) throws(AncillaryError) {
    // SAFETY: OwnedFd is one Int32; the bytes are only read, while the span borrows the descriptors.
    try unsafe descriptors.withUnsafeBufferPointer { (buffer) throws(AncillaryError) in
      try unsafe appendRights(numbers: UnsafeRawBufferPointer(buffer))
    }
  }

  /// Appends one `SCM_RIGHTS` message with any numbers; nothing for an empty buffer.
  @_lifetime(self: copy self)
  mutating func appendRights(numbers: UnsafeRawBufferPointer) throws(AncillaryError) {
    guard numbers.count > 0 else { return }
    let count = numbers.count / MemoryLayout<Int32>.size
    guard count <= ControlMessages.maximumDescriptors else {
      throw AncillaryError(.tooManyDescriptors, actual: count, limit: ControlMessages.maximumDescriptors)
    }
    try appendControlMessageHeader(.rights, payload: numbers.count)
    // SAFETY: the caller's buffer is readable for the duration of this call.
    append(copying: unsafe numbers.bytes)
    append(zeroes: ControlMessageLayout.align(numbers.count) - numbers.count)
  }
}

extension ControlMessages {
  /// Writes one `SCM_RIGHTS` message for `descriptors` at the start of `memory`, and returns how many bytes it takes: what belongs in
  /// `msg_controllen`. An empty span takes none.
  ///
  /// Only the numbers are written: the descriptors must stay open until the send has completed, with io_uring until its final completion.
  ///
  /// - Throws: ``AncillaryError/Code/tooManyDescriptors`` above ``maximumDescriptors``; ``AncillaryError/Code/noCapacity`` when `memory` is smaller
  ///   than ``space(forDescriptors:)``.
  @unsafe
  public static func encodeRights(
    _ descriptors: Span<OwnedFd>, into memory: UnsafeMutableRawBufferPointer
  ) throws(AncillaryError) -> Int {
    // SAFETY: the caller lends memory that nobody else uses; only the part that the output span tracks is written.
    var output = unsafe OutputRawSpan(buffer: memory, initializedCount: 0)
    try output.appendRights(descriptors)
    return output.byteCount
  }

  /// The same for raw descriptors, whose owners the caller keeps alive.
  ///
  /// - Throws: ``AncillaryError/Code/tooManyDescriptors``, ``AncillaryError/Code/noCapacity``.
  @unsafe
  public static func encodeRights(
    _ descriptors: Span<FileDescriptor>, into memory: UnsafeMutableRawBufferPointer
  ) throws(AncillaryError) -> Int {
    // SAFETY: as above; FileDescriptor is one Int32.
    var output = unsafe OutputRawSpan(buffer: memory, initializedCount: 0)
    try unsafe descriptors.withUnsafeBufferPointer { (buffer) throws(AncillaryError) in
      try unsafe output.appendRights(numbers: UnsafeRawBufferPointer(buffer))
    }
    return output.byteCount
  }
}

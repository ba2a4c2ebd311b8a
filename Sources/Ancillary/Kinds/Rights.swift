// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets
public import SystemPackage

extension ControlMessageKind {
  /// Descriptors, each a 32-bit integer. The C name is `SCM_RIGHTS` (unix(7)), with the same type
  /// on all systems.
  public static var rights: ControlMessageKind {
    ControlMessageKind(level: ControlMessageLayout.socketLevel, type: cms_scm_rights)
  }

  /// The sender's process as a descriptor. The C name is `SCM_PIDFD` (Linux 6.5, with
  /// `SO_PASSPIDFD` set on the receiver).
  public static var processDescriptor: ControlMessageKind {
    ControlMessageKind(level: cms_sol_socket, type: cms_scm_pidfd)
  }
}

extension OutputRawSpan {
  /// Appends one `SCM_RIGHTS` message with the numbers of `descriptors`, or nothing for an empty
  /// span.
  @_lifetime(self: copy self)
  mutating func appendRights(_ descriptors: Span<OwnedFd>) throws(AncillaryError) {
    // SAFETY: OwnedFd is one Int32; the bytes are only read, while the span borrows the
    // descriptors.
    try unsafe descriptors.withUnsafeBufferPointer { (buffer) throws(AncillaryError) in
      try unsafe appendRights(numbers: UnsafeRawBufferPointer(buffer))
    }
  }

  /// Appends one `SCM_RIGHTS` message with any numbers, or nothing for an empty buffer.
  @_lifetime(self: copy self)
  mutating func appendRights(numbers: UnsafeRawBufferPointer) throws(AncillaryError) {
    // SAFETY: writes only the part that is then counted, after checking its length.
    try unsafe withUnsafeMutableBytes { (memory, used) throws(AncillaryError) in
      used += try unsafe encodeRights(
        numbers, into: UnsafeMutableRawBufferPointer(rebasing: memory[used...]))
    }
  }
}

/// Writes one `SCM_RIGHTS` message with `numbers` at the start of `memory`. Returns its length with
/// padding, or 0 if there are no numbers.
///
/// Plain stores instead of a span, because this is the one encoder in which nanoseconds matter.
@inline(__always)
func encodeRights(
  _ numbers: UnsafeRawBufferPointer, into memory: UnsafeMutableRawBufferPointer
) throws(AncillaryError) -> Int {
  guard let source = numbers.baseAddress, numbers.count > 0 else { return 0 }
  let count = numbers.count / MemoryLayout<Int32>.size
  guard count <= ControlMessages.maximumDescriptors else {
    throw AncillaryError(
      .tooManyDescriptors, actual: count, limit: ControlMessages.maximumDescriptors)
  }
  let length = ControlMessageLayout.headerSize + numbers.count
  let space = ControlMessageLayout.align(length)
  guard let target = memory.baseAddress, space <= memory.count else {
    throw AncillaryError(.noCapacity, actual: space, limit: memory.count)
  }
  // SAFETY: everything is below `space`, which was compared with the memory; stores take any
  // alignment. The zero is stored first, where the padding will be.
  unsafe target.storeBytes(of: 0, toByteOffset: space - 8, as: UInt64.self)
  unsafe target.storeBytes(
    of: ControlMessageLayout.Length(length), as: ControlMessageLayout.Length.self)
  unsafe target.storeBytes(
    of: ControlMessageKind.rights.level, toByteOffset: ControlMessageLayout.levelOffset,
    as: Int32.self)
  unsafe target.storeBytes(
    of: ControlMessageKind.rights.type, toByteOffset: ControlMessageLayout.typeOffset,
    as: Int32.self)
  if ControlMessageLayout.headerSize > ControlMessageLayout.rawHeaderSize {
    unsafe target.storeBytes(
      of: 0, toByteOffset: ControlMessageLayout.rawHeaderSize, as: UInt32.self)
  }
  let slots = unsafe target + ControlMessageLayout.headerSize
  if count == 1 {
    unsafe slots.storeBytes(of: source.loadUnaligned(as: Int32.self), as: Int32.self)
  } else {
    unsafe slots.copyMemory(from: source, byteCount: numbers.count)
  }
  return space
}

extension ControlMessages {
  /// Writes one `SCM_RIGHTS` message for `descriptors` at the start of `memory`, and returns how
  /// many bytes it takes: what belongs in `msg_controllen`. An empty span takes none.
  ///
  /// Only the numbers are written: the descriptors must stay open until the send has completed,
  /// with io_uring until its final completion.
  ///
  /// - Throws: ``AncillaryError/Code/tooManyDescriptors`` above ``maximumDescriptors``;
  ///   ``AncillaryError/Code/noCapacity`` when `memory` is smaller than ``space(forDescriptors:)``.
  @unsafe
  public static func encodeRights(
    _ descriptors: Span<OwnedFd>, into memory: UnsafeMutableRawBufferPointer
  ) throws(AncillaryError) -> Int {
    // SAFETY: the caller passes memory that nothing else uses; OwnedFd is one Int32, and the
    // descriptors are borrowed.
    try unsafe descriptors.withUnsafeBufferPointer { (buffer) throws(AncillaryError) in
      try unsafe Ancillary.encodeRights(UnsafeRawBufferPointer(buffer), into: memory)
    }
  }

  /// Writes one `SCM_RIGHTS` message with raw descriptors, whose owners the caller keeps alive.
  ///
  /// - Throws: ``AncillaryError/Code/tooManyDescriptors``, ``AncillaryError/Code/noCapacity``.
  @unsafe
  public static func encodeRights(
    _ descriptors: Span<FileDescriptor>, into memory: UnsafeMutableRawBufferPointer
  ) throws(AncillaryError) -> Int {
    // SAFETY: as above; FileDescriptor is one Int32.
    try unsafe descriptors.withUnsafeBufferPointer { (buffer) throws(AncillaryError) in
      try unsafe Ancillary.encodeRights(UnsafeRawBufferPointer(buffer), into: memory)
    }
  }
}

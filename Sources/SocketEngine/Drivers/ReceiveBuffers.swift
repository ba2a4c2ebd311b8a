// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets
internal import CRing

/// The buffers that the kernel fills for multishot receives, shared by all sockets of a loop: an
/// idle socket holds none.
///
/// A buffer is filled as: header, the sender's name if the socket asks for it, control, payload. It
/// is read when its completion is reaped, and given back at once, so that the kernel runs short
/// only when more messages arrive between two turns than there are buffers; the messages then wait
/// in their sockets.
@safe
class ReceiveBuffers {
  static let group: UInt16 = 0
  static let headerSize = MemoryLayout<cms_received_header>.size

  let controlSize: Int
  /// Header, name, control data, and exactly `receiveBufferSize` bytes of payload.
  private let bufferSize: Int
  /// The distance from one buffer to the next.
  private let stride: Int
  private let count: Int
  private let slab: UnsafeMutableRawBufferPointer
  private let ring: OpaquePointer?
  private let buffers: OpaquePointer?

  /// Nil if the kernel has no provided-buffer rings (before Linux 5.19), or no memory for one.
  convenience init?(ring: OpaquePointer, count: Int, controlSize: Int, payloadSize: Int) {
    var buffers: OpaquePointer?
    guard unsafe cms_buffer_ring_create(ring, Self.group, UInt32(count), &buffers) == 0,
      let buffers = unsafe buffers
    else { return nil }
    unsafe self.init(
      ring, buffers, count: count, controlSize: controlSize, payloadSize: payloadSize)
    for id in 0..<count { provide(UInt16(id)) }
  }

  /// Only the memory; without a ring it is a simulated kernel's, which overrides what speaks to the
  /// real one.
  init(
    _ ring: OpaquePointer?, _ buffers: OpaquePointer?, count: Int, controlSize: Int,
    payloadSize: Int
  ) {
    self.controlSize = controlSize
    self.count = count
    bufferSize = Self.headerSize + OperationMemory.nameCapacity + controlSize + payloadSize
    stride = (bufferSize + 63) / 64 * 64
    unsafe self.ring = ring
    unsafe self.buffers = buffers
    // SAFETY: freed in `close()`, after the last operation of the ring. Pages that no message
    // reaches are never touched.
    unsafe slab = .allocate(byteCount: stride * count, alignment: 64)
  }

  /// The whole of a buffer. Valid until it is given back.
  @unsafe
  func bytes(of id: UInt16) -> UnsafeMutableRawBufferPointer {
    let start = Int(id) * stride
    return unsafe UnsafeMutableRawBufferPointer(rebasing: slab[start..<(start + bufferSize)])
  }

  /// Gives a buffer to the kernel.
  func provide(_ id: UInt16) {
    precondition(id < count, "A completion names a buffer that does not exist")
    let start = unsafe slab.baseAddress! + Int(id) * stride
    unsafe cms_buffer_ring_provide(buffers!, start, UInt32(bufferSize), id)
  }

  /// Takes all buffers back from the kernel, and frees them.
  func close() {
    if let ring = unsafe ring { unsafe cms_buffer_ring_destroy(ring, buffers!) }
    unsafe slab.deallocate()
  }
}

// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets
internal import CRing

/// The buffers that the kernel fills for multishot receives. All sockets of a loop share them, so
/// an idle socket holds none.
///
/// A buffer contains: header, the sender's name if the socket asks for it, control data, payload.
/// It is read when its completion is reaped and then given back immediately. So the kernel runs
/// short only if more messages arrive between two turns than there are buffers; the messages then
/// wait in their sockets.
@safe
class ReceiveBuffers {
  static let group: UInt16 = 0
  static let headerSize = MemoryLayout<cms_received_header>.size

  let controlSize: Int
  /// The size of header, name, control data and exactly `receiveBufferSize` bytes of payload.
  private let bufferSize: Int
  /// The distance from one buffer to the next.
  private let stride: Int
  private let count: Int
  private let slab: UnsafeMutableRawBufferPointer
  private let ring: OpaquePointer?
  private let buffers: OpaquePointer?

  /// Returns nil if the kernel has no provided-buffer rings (before Linux 5.19) or no memory for
  /// one.
  convenience init?(ring: OpaquePointer, count: Int, controlSize: Int, payloadSize: Int) {
    var buffers: OpaquePointer?
    guard unsafe cms_buffer_ring_create(ring, Self.group, UInt32(count), &buffers) == 0,
      let buffers = unsafe buffers
    else { return nil }
    unsafe self.init(
      ring, buffers, count: count, controlSize: controlSize, payloadSize: payloadSize)
    for id in 0..<count { provide(UInt16(id)) }
  }

  /// Allocates only the memory. Without a ring the buffers belong to a simulated kernel, which
  /// overrides the methods that call the real one.
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
    // SAFETY: freed in `close()`, after the ring's last operation has ended. Pages that no message
    // reaches are never touched.
    unsafe slab = .allocate(byteCount: stride * count, alignment: 64)
  }

  /// All bytes of a buffer, valid until the buffer is given back.
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

/// One message as a multishot receive leaves it in a buffer, split into its parts. Every length is
/// checked against the buffer.
@unsafe
struct ReceivedBuffer {
  let messageFlags: Int32
  let name: UnsafeMutableRawBufferPointer
  let control: UnsafeMutableRawBufferPointer
  let payload: UnsafeMutableRawBufferPointer
  /// The payload's full length if the request asks for it (`MSG_TRUNC`); otherwise the length
  /// received.
  let fullLength: Int

  /// - Parameters:
  ///   - buffer: the whole buffer.
  ///   - filled: the completion's result: header, the room reserved for name and control data, and
  ///     the payload's bytes.
  ///   - nameSize: the room reserved for the sender's address.
  ///   - controlSize: the room reserved for control data, whatever of it was used.
  init?(_ buffer: UnsafeMutableRawBufferPointer, filled: Int, nameSize: Int, controlSize: Int) {
    let controlStart = ReceiveBuffers.headerSize + nameSize
    let payloadStart = controlStart + controlSize
    guard filled >= payloadStart, filled <= buffer.count else { return nil }
    let header = unsafe buffer.loadUnaligned(as: cms_received_header.self)
    guard header.control_length <= controlSize else { return nil }
    // The header holds the name's full length, which may exceed the room for it.
    let nameEnd = ReceiveBuffers.headerSize + min(Int(header.name_length), nameSize)
    // SAFETY: all three ranges lie inside the buffer, as checked.
    unsafe name = UnsafeMutableRawBufferPointer(
      rebasing: buffer[ReceiveBuffers.headerSize..<nameEnd])
    unsafe control = UnsafeMutableRawBufferPointer(
      rebasing: buffer[controlStart..<(controlStart + Int(header.control_length))])
    // The result tells how much payload is present; the header tells the full length (MSG_TRUNC).
    unsafe payload = UnsafeMutableRawBufferPointer(rebasing: buffer[payloadStart..<filled])
    unsafe fullLength = max(payload.count, Int(header.payload_length))
    unsafe messageFlags = Int32(bitPattern: header.flags) & ~cms_msg_cmsg_cloexec
  }
}

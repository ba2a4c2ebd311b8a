// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import CMessageSockets

/// One message as a multishot receive leaves it in a buffer, taken apart. Every length is checked
/// against the buffer's.
@unsafe
struct ReceivedBuffer {
  let messageFlags: Int32
  let name: UnsafeMutableRawBufferPointer
  let control: UnsafeMutableRawBufferPointer
  let payload: UnsafeMutableRawBufferPointer
  /// How long the payload was, where the request asks for it (`MSG_TRUNC`); else as long as it is.
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
    // The name's length is what there would have been, too.
    let nameEnd = ReceiveBuffers.headerSize + min(Int(header.name_length), nameSize)
    // SAFETY: all three ranges lie inside the buffer, as checked.
    unsafe name = UnsafeMutableRawBufferPointer(
      rebasing: buffer[ReceiveBuffers.headerSize..<nameEnd])
    unsafe control = UnsafeMutableRawBufferPointer(
      rebasing: buffer[controlStart..<(controlStart + Int(header.control_length))])
    // The payload's length is what is there; the header's is what there would have been
    // (MSG_TRUNC).
    unsafe payload = UnsafeMutableRawBufferPointer(rebasing: buffer[payloadStart..<filled])
    unsafe fullLength = max(payload.count, Int(header.payload_length))
    unsafe messageFlags = Int32(bitPattern: header.flags) & ~cms_msg_cmsg_cloexec
  }
}

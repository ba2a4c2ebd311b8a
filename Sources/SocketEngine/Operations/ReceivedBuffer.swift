internal import Ancillary
internal import CMessageSockets

/// One message as a multishot receive leaves it in a buffer, taken apart. Every length is checked against the buffer's.
@unsafe
struct ReceivedBuffer {
  let messageFlags: Int32
  let control: UnsafeMutableRawBufferPointer
  let payload: UnsafeMutableRawBufferPointer

  /// - Parameters:
  ///   - buffer: the whole buffer.
  ///   - filled: the completion's result: header, the room reserved for control data, and the payload's bytes.
  ///   - controlSize: the room reserved for control data, whatever of it was used.
  init?(_ buffer: UnsafeMutableRawBufferPointer, filled: Int, controlSize: Int) {
    let payloadStart = ReceiveBuffers.headerSize + controlSize
    guard filled >= payloadStart, filled <= buffer.count else { return nil }
    let header = unsafe buffer.loadUnaligned(as: cms_received_header.self)
    guard header.control_length <= controlSize, header.name_length == 0 else { return nil }
    let controlEnd = ReceiveBuffers.headerSize + Int(header.control_length)
    // SAFETY: both ranges lie inside the buffer, as checked.
    unsafe control = UnsafeMutableRawBufferPointer(rebasing: buffer[ReceiveBuffers.headerSize..<controlEnd])
    // The payload's length is what is there; the header's is what there would have been (MSG_TRUNC).
    unsafe payload = UnsafeMutableRawBufferPointer(rebasing: buffer[payloadStart..<filled])
    unsafe messageFlags = Int32(bitPattern: header.flags) & ~cms_msg_cmsg_cloexec
  }
}

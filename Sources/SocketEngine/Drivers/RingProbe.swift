// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import CMessageSockets
internal import CRing
internal import SystemPackage

/// The probe that shows whether a ring carries descriptors: it sends and receives one. Some
/// sandboxes accept the setup but refuse the requests, and kernels from 5.4 to 5.11 refused control
/// messages over io_uring.
enum RingProbe {
  private static let receive: UInt64 = 1
  private static let send: UInt64 = 2

  /// Runs the probe. Leaves the ring empty, and nothing open.
  static func run(on ring: OpaquePointer) throws(RingUnavailable) {
    var pair: (Int32, Int32) = (-1, -1)
    let status = unsafe cms_unix_socketpair(cms_socket_seqpacket, &pair.0, &pair.1)
    guard status == 0 else { throw refusal(status, "socketpair") }
    let sender = OwnedFd(adopting: FileDescriptor(rawValue: pair.0))
    let receiver = OwnedFd(adopting: FileDescriptor(rawValue: pair.1))
    try receiver.withUnsafeFileDescriptor { (to) throws(RingUnavailable) in
      try sender.withUnsafeFileDescriptor { (from) throws(RingUnavailable) in
        try unsafe exchange(on: ring, from: from.rawValue, to: to.rawValue)
      }
    }
  }

  /// The socket sends its own descriptor, so no other descriptor is needed.
  private static func exchange(on ring: OpaquePointer, from sender: Int32, to receiver: Int32)
    throws(RingUnavailable)
  {
    let sending = ProbeMessage()
    let receiving = ProbeMessage()
    sending.carry(descriptor: sender)
    // SAFETY: both messages stay allocated until their completions, or forever. They are submitted
    // one by one, because the smallest ring has one entry.
    var isPrepared = unsafe cms_ring_prepare_recvmsg(
      ring, receive, receiver, receiving.header, UInt32(cms_msg_cmsg_cloexec), false)
    _ = unsafe cms_ring_enter(ring, 0, -1)
    isPrepared =
      unsafe isPrepared
      && cms_ring_prepare_sendmsg(ring, send, sender, sending.header, UInt32(cms_msg_nosignal))
    guard isPrepared else { throw refusal(0, "no place in the submission queue") }
    let results = unsafe awaitResults(on: ring)
    guard let sent = results.sent, let received = results.received else {
      sending.keepForever()
      receiving.keepForever()
      if let sent = results.sent, sent < 0 { throw refusal(sent, "IORING_OP_SENDMSG") }
      if let received = results.received, received < 0 {
        throw refusal(received, "IORING_OP_RECVMSG")
      }
      throw refusal(results.entered, "io_uring_enter")
    }
    let arrived = received >= 0 ? receiving.closeDescriptors() : 0
    guard sent == 1 else { throw refusal(sent, "IORING_OP_SENDMSG") }
    guard received == 1 else { throw refusal(received, "IORING_OP_RECVMSG") }
    // The kernel reports a missing descriptor number only by this flag.
    if arrived == 0, unsafe receiving.header.pointee.flags & cms_msg_ctrunc != 0 {
      throw refusal(-Errno.tooManyOpenFiles.rawValue, "no number for a descriptor")
    }
    guard arrived == 1 else { throw refusal(0, "\(arrived) descriptors instead of 1") }
  }

  private struct Results {
    var sent: Int32?
    var received: Int32?
    /// The result of the last enter.
    var entered: Int32 = 0
  }

  /// Enters until both completions have come, until one of them rules the other out, or for about a
  /// second. Normally this takes some microseconds.
  private static func awaitResults(on ring: OpaquePointer) -> Results {
    var results = Results()
    for _ in 0..<10 {
      results.entered = unsafe cms_ring_enter(ring, 1, 100_000_000)
      var completion = cms_completion()
      while unsafe cms_ring_reap(ring, &completion, 1) == 1 {
        if completion.user_data == send {
          results.sent = completion.result
        } else {
          results.received = completion.result
        }
      }
      let isOver = results.sent.map { $0 < 0 || results.received != nil } ?? false
      let errno = Errno(rawValue: -results.entered)
      if isOver || results.entered < 0 && errno != .interrupted && errno != .timeout { break }
    }
    return results
  }

  private static func refusal(_ result: Int32, _ detail: String) -> RingUnavailable {
    let errno = result < 0 ? Errno(rawValue: -result) : nil
    let code: IOLoop.Driver.Reason.Code =
      switch errno {
      case .tooManyOpenFiles, .tooManyOpenFilesInSystem, .tooManyReferences: .outOfDescriptors
      default: .roundTripFailed
      }
    return RingUnavailable(IOLoop.Driver.Reason(code, errno: errno, detail: detail))
  }
}

/// A message of one byte with room for a descriptor, at a fixed address. ``RingProbe`` sends and
/// receives it.
@safe
final class ProbeMessage {
  private let memory = OperationMemory()
  private let bytes: UnsafeMutableRawBufferPointer
  /// The size of the control area, which has room for more than one descriptor and an unexpected
  /// `SCM_INQ`. The payload is the byte after it.
  private static let controlCapacity = 128

  init() {
    // SAFETY: freed in deinit, which `keepForever` prevents while the kernel may still write.
    unsafe bytes = .allocate(byteCount: Self.controlCapacity + 1, alignment: 8)
    unsafe bytes.initializeMemory(as: UInt8.self, repeating: 0)
    unsafe memory.setPayload(
      UnsafeMutableRawBufferPointer(rebasing: bytes[Self.controlCapacity...]))
    unsafe memory.setControl(
      UnsafeMutableRawBufferPointer(rebasing: bytes[..<Self.controlCapacity]))
  }

  deinit { unsafe bytes.deallocate() }

  var header: UnsafeMutablePointer<cms_msghdr> { unsafe memory.header }

  /// A header for the byte without control data.
  var plainHeader: UnsafeMutablePointer<cms_msghdr> {
    unsafe memory.setControl(nil)
    return unsafe memory.header
  }

  /// Puts the descriptor into the control bytes. It must stay open until the message is sent.
  func carry(descriptor: Int32) {
    let number = InlineArray<1, FileDescriptor>(repeating: FileDescriptor(rawValue: descriptor))
    // One descriptor always fits.
    let count = unsafe try! ControlMessages.encodeRights(number.span, into: bytes)
    unsafe memory.setControl(UnsafeMutableRawBufferPointer(rebasing: bytes[..<count]))
  }

  /// Closes the received descriptors and returns how many there were.
  func closeDescriptors() -> Int {
    // SAFETY: the kernel has filled this many bytes, and no other code has seen the descriptors in
    // them.
    let filled = unsafe UnsafeMutableRawBufferPointer(
      rebasing: bytes[..<min(header.pointee.control_length, Self.controlCapacity)])
    return unsafe ReceivedAncillary(takingFrom: filled).descriptors.count
  }

  /// Leaks this object: the completion is missing, so the kernel may write to the memory as long as
  /// the process lives.
  func keepForever() { _ = unsafe Unmanaged.passRetained(self) }
}

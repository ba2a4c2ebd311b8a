// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import CMessageSockets
internal import SystemPackage

/// The proof that a ring carries descriptors: one is sent and received through it. Some sandboxes
/// accept the set-up and refuse the work, and kernels from 5.4 to 5.11 refused control messages
/// over io_uring.
enum RingProbe {
  private static let receive: UInt64 = 1
  private static let send: UInt64 = 2

  /// Leaves the ring empty, and nothing open; a ring that fails is destroyed.
  static func runOrDestroy(_ ring: OpaquePointer) throws(RingRefusal) {
    do throws(RingRefusal) {
      try unsafe run(on: ring)
    } catch {
      unsafe cms_ring_destroy(ring)
      throw error
    }
  }

  private static func run(on ring: OpaquePointer) throws(RingRefusal) {
    var pair: (Int32, Int32) = (-1, -1)
    let status = unsafe cms_unix_socketpair(cms_socket_seqpacket, &pair.0, &pair.1)
    guard status == 0 else { throw refusal(status, "socketpair") }
    let sender = OwnedFd(adopting: FileDescriptor(rawValue: pair.0))
    let receiver = OwnedFd(adopting: FileDescriptor(rawValue: pair.1))
    try receiver.withUnsafeFileDescriptor { (to) throws(RingRefusal) in
      try sender.withUnsafeFileDescriptor { (from) throws(RingRefusal) in
        try unsafe exchange(on: ring, from: from.rawValue, to: to.rawValue)
      }
    }
  }

  /// The socket sends itself: no further descriptor is needed.
  private static func exchange(on ring: OpaquePointer, from sender: Int32, to receiver: Int32)
    throws(RingRefusal)
  {
    let sending = ProbeMessage()
    let receiving = ProbeMessage()
    sending.carry(descriptor: sender)
    // SAFETY: both messages stay until their completions, or for ever. They are submitted one by
    // one: the smallest ring has one place.
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
    guard arrived == 1 else { throw refusal(0, "\(arrived) descriptors instead of 1") }
  }

  private struct Results {
    var sent: Int32?
    var received: Int32?
    /// What the last enter said.
    var entered: Int32 = 0
  }

  /// Enters until both completions have come, one of them says that the other will not, or a second
  /// has passed. It takes some microseconds.
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

  private static func refusal(_ result: Int32, _ detail: String) -> RingRefusal {
    let errno = result < 0 ? Errno(rawValue: -result) : nil
    let isTemporary = errno == .tooManyOpenFiles || errno == .tooManyOpenFilesInSystem
    return RingRefusal(
      IOLoop.Driver.Reason(
        isTemporary ? .outOfDescriptors : .roundTripFailed, errno: errno, detail: detail))
  }
}

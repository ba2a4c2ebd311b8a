// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import CMessageSockets
internal import CRing
internal import SystemPackage

/// The result of a trial: how a ring reports the end and the rest of Unix streams.
struct StreamTraits: Equatable, Sendable {
  /// Whether a multishot receive reports the end of a stream.
  var reportsEnd: Bool
  /// Whether a receive reports that more data waits (`IORING_CQE_F_SOCK_NONEMPTY`, since Linux
  /// 6.17).
  var reportsRest: Bool
}

/// The trial that shows whether a multishot receive reports the end of a stream: a peer sends a
/// byte and closes its socket before the ring looks.
///
/// From Linux 6.17 to 6.19.8 the receive takes the byte and then waits forever: the kernel takes
/// the empty queue as a reason to poll again, and no event follows. (Commit a68ed2df7213 fixes it;
/// sequential packets are not affected.) Distributions backport the bug and the fix to other
/// version numbers, so only a trial can tell.
enum StreamTrial {
  private static let receive: UInt64 = 3
  private static let cancel: UInt64 = 4
  /// A buffer group other than that of the loop's own buffers.
  private static let group = ReceiveBuffers.group + 1

  /// Returns nil if a shortage prevented an answer, or there are no multishot receives. Leaves the
  /// ring empty, and nothing open.
  ///
  /// - Throws: ``RingUnavailable`` if the receive cannot be ended, which makes the ring useless.
  static func run(on ring: OpaquePointer) throws(RingUnavailable) -> StreamTraits? {
    guard unsafe RingSetup.hasMultishotReceives(ring) else { return nil }
    var pair: (Int32, Int32) = (-1, -1)
    guard unsafe cms_unix_socketpair(cms_socket_stream, &pair.0, &pair.1) == 0 else { return nil }
    let receiver = OwnedFd(adopting: FileDescriptor(rawValue: pair.0))
    let peer = OwnedFd(adopting: FileDescriptor(rawValue: pair.1))
    guard let memory = unsafe TrialMemory(ring: ring, group: group) else { return nil }
    let number = receiver.withUnsafeFileDescriptor { $0.rawValue }
    guard let reportsRest = unsafe try look(ring, number, peer) else {
      unsafe memory.withdraw(from: ring)
      return nil
    }
    let outcome = unsafe watch(ring, number, peer, memory)
    guard outcome != .stuck else {
      memory.keepForever()
      throw RingUnavailable(
        IOLoop.Driver.Reason(.roundTripFailed, detail: "a receive could not be cancelled"))
    }
    unsafe memory.withdraw(from: ring)
    if outcome == .unknown { return nil }
    return StreamTraits(reportsEnd: outcome == .reported, reportsRest: reportsRest)
  }

  /// Whether a receive that leaves a byte behind reports it. Receives both bytes.
  private static func look(
    _ ring: OpaquePointer, _ receiver: Int32, _ peer: borrowing OwnedFd
  ) throws(RingUnavailable) -> Bool? {
    guard send(peer), send(peer) else { return nil }
    var flags: [UInt32] = []
    for _ in 0..<2 {
      let message = ProbeMessage()
      // SAFETY: the message stays allocated until the completion, or forever.
      guard unsafe cms_ring_prepare_recvmsg(ring, receive, receiver, message.plainHeader, 0, false)
      else {
        return nil
      }
      guard let last = unsafe awaitEnd(on: ring, enters: 10, milliseconds: 100) else {
        message.keepForever()
        throw RingUnavailable(
          IOLoop.Driver.Reason(.roundTripFailed, detail: "a receive did not end"))
      }
      guard last.result == 1 else { return nil }
      flags.append(last.flags)
    }
    return flags[0] & cms_completion_socket_nonempty != 0
      && flags[1] & cms_completion_socket_nonempty == 0
  }

  /// Sends a byte.
  private static func send(_ peer: borrowing OwnedFd) -> Bool {
    let byte = ProbeMessage()
    let sent = peer.withUnsafeFileDescriptor {
      unsafe cms_sendmsg($0.rawValue, byte.plainHeader, cms_msg_nosignal | cms_msg_dontwait)
    }
    return sent == 1
  }

  private enum Outcome { case reported, missed, unknown, stuck }

  private static func watch(
    _ ring: OpaquePointer, _ receiver: Int32, _ peer: consuming OwnedFd, _ memory: TrialMemory
  ) -> Outcome {
    // SAFETY: the memory stays allocated until the final completion, or forever.
    guard
      unsafe cms_ring_prepare_recvmsg_multishot(
        ring, receive, receiver, memory.header, UInt32(cms_msg_cmsg_cloexec), group)
    else { return .unknown }
    // The receive waits in the kernel before the peer sends and closes in one go.
    _ = unsafe cms_ring_enter(ring, 0, -1)
    let isSent = send(peer)
    _ = consume peer
    // The completion comes in the first or the second enter. The other enters give time to a kernel
    // that works on threads of its own.
    if let last = unsafe awaitEnd(on: ring, enters: 4, milliseconds: 10) {
      return isSent && last.result >= 0 ? .reported : .unknown
    }
    return unsafe stop(ring) ? isSent ? .missed : .unknown : .stuck
  }

  /// Returns the receive's final completion; nil if it does not come.
  private static func awaitEnd(on ring: OpaquePointer, enters: Int, milliseconds: Int64)
    -> cms_completion?
  {
    var last: cms_completion?
    for _ in 0..<enters where last == nil {
      _ = unsafe cms_ring_enter(ring, 1, milliseconds * 1_000_000)
      var completion = cms_completion()
      while unsafe cms_ring_reap(ring, &completion, 1) == 1 {
        let isFinal = completion.user_data == receive && completion.flags & cms_completion_more == 0
        if isFinal { last = completion }
      }
    }
    return last
  }

  /// Cancels the receive. Returns whether both requests have ended.
  private static func stop(_ ring: OpaquePointer) -> Bool {
    guard unsafe cms_ring_prepare_cancel(ring, cancel, receive) else { return false }
    var isLeft = (receive: true, cancel: true)
    for _ in 0..<10 where isLeft.receive || isLeft.cancel {
      _ = unsafe cms_ring_enter(ring, 1, 100_000_000)
      var completion = cms_completion()
      while unsafe cms_ring_reap(ring, &completion, 1) == 1 {
        if completion.user_data == cancel { isLeft.cancel = false }
        if completion.user_data == receive, completion.flags & cms_completion_more == 0 {
          isLeft.receive = false
        }
      }
    }
    return !isLeft.receive && !isLeft.cancel
  }
}

/// A message header and four small buffers, at fixed addresses.
@safe
private final class TrialMemory {
  private static let bufferSize = 256
  private static let count: UInt16 = 4
  private let memory = OperationMemory()
  private let slab: UnsafeMutableRawPointer
  private let buffers: OpaquePointer

  /// Returns nil if the kernel has no memory for the buffers, or no buffer rings.
  init?(ring: OpaquePointer, group: UInt16) {
    var buffers: OpaquePointer?
    guard unsafe cms_buffer_ring_create(ring, group, UInt32(Self.count), &buffers) == 0,
      let buffers = unsafe buffers
    else { return nil }
    unsafe self.buffers = buffers
    // SAFETY: freed in deinit, which `keepForever` prevents while the kernel may still write.
    unsafe slab = .allocate(byteCount: Self.bufferSize * Int(Self.count), alignment: 64)
    for id in 0..<Self.count {
      unsafe cms_buffer_ring_provide(
        buffers, slab + Int(id) * Self.bufferSize, UInt32(Self.bufferSize), id)
    }
    unsafe memory.setPayload(UnsafeMutableRawBufferPointer(start: nil, count: 0))
    unsafe header.pointee.vector_count = 0
    // Room for an `SCM_INQ` that was not asked for.
    unsafe header.pointee.control_length = 64
  }

  deinit { unsafe slab.deallocate() }

  var header: UnsafeMutablePointer<cms_msghdr> { unsafe memory.header }

  /// Takes the buffers back from the kernel. The receive must have ended.
  func withdraw(from ring: OpaquePointer) { unsafe cms_buffer_ring_destroy(ring, buffers) }

  /// Leaks this object: the receive has not ended, so the kernel may write to the memory as long as
  /// the process lives.
  func keepForever() { _ = unsafe Unmanaged.passRetained(self) }
}

// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import CMessageSockets
internal import SystemPackage

/// An epoll instance (epoll(7)) with the sockets of one loop on which operations wait or have
/// waited.
///
/// Only the loop's thread waits. Any thread may remove a socket, because a socket closes wherever
/// its last reference is dropped. The lock orders that with the closing of the instance itself.
final class EpollSet: Sendable {
  private let number: Int32
  /// Nil after the loop has closed its driver.
  private let descriptor: TSanVisibleMutex<OwnedFd?>

  init() throws(SocketError) {
    let descriptor = try OwnedFd(adoptingResult: cms_epoll_create(), operation: .startLoop)
    number = descriptor.withUnsafeFileDescriptor { $0.rawValue }
    self.descriptor = TSanVisibleMutex(descriptor)
  }

  /// Watches a descriptor, edge-triggered. If it is ready already, that raises an event too, so no
  /// change between a failed attempt and this call is missed. Returns 0 or -errno.
  func add(_ fd: Int32, _ events: UInt32) -> Int32 {
    let status = cms_epoll_add(number, fd, events)
    // The open file had this number before, and its registration has survived.
    return status == -Errno.fileExists.rawValue ? cms_epoll_modify(number, fd, events) : status
  }

  /// Changes the watched events. As with ``add(_:_:)``, current readiness raises an event. Returns
  /// 0 or -errno.
  func modify(_ fd: Int32, _ events: UInt32) -> Int32 { cms_epoll_modify(number, fd, events) }

  /// Callable from any thread.
  func remove(_ fd: Int32) {
    descriptor.withLock { descriptor in
      if descriptor != nil { _ = cms_epoll_remove(number, fd) }
    }
  }

  /// Waits for events, at most `timeout` nanoseconds unless that is negative. Returns how many
  /// there are (0 after a signal), or -errno.
  func wait(into events: UnsafeMutableBufferPointer<cms_event>, timeout: Int64) -> Int {
    // SAFETY: the kernel writes at most `events.count` events, and only during the call.
    let count = unsafe cms_epoll_wait(number, events.baseAddress!, UInt32(events.count), timeout)
    return count == -Errno.interrupted.rawValue ? 0 : Int(count)
  }

  func close() { descriptor.withLock { $0 = nil } }
}

/// A socket's registration in its loop's ``EpollSet``. The socket drops it before it closes its
/// descriptor.
///
/// Closing the descriptor is not enough: epoll watches the open file, which lives on if the socket
/// was sent to another process. The registration would then wake the loop forever and could no
/// longer be removed.
struct EpollRegistration: ~Copyable {
  private let set: EpollSet
  private let number: Int32

  /// Creates the registration of a number that was added to `set`.
  init(of number: Int32, in set: EpollSet) {
    self.set = set
    self.number = number
  }

  deinit { set.remove(number) }
}

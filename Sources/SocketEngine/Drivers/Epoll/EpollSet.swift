// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import CMessageSockets
internal import SystemPackage

/// An epoll instance (epoll(7)): the sockets of one loop on which operations wait, or have waited.
///
/// Waiting is the loop's thread's; taking a socket out may happen on any thread, because a socket
/// is closed wherever its last reference goes. The lock orders that with the closing of the
/// instance itself.
final class EpollSet: Sendable {
  private let number: Int32
  /// Nil once the loop has closed its driver.
  private let descriptor: TSanVisibleMutex<OwnedFd?>

  init() throws(SocketError) {
    let descriptor = try OwnedFd(adoptingResult: cms_epoll_create(), operation: .startLoop)
    number = descriptor.withUnsafeFileDescriptor { $0.rawValue }
    self.descriptor = TSanVisibleMutex(descriptor)
  }

  /// Watches a descriptor, edge-triggered. What is ready at this moment is an event, too: nothing
  /// can slip through between a failed attempt and this call. 0 or -errno.
  func add(_ fd: Int32, _ events: UInt32) -> Int32 {
    let status = cms_epoll_add(number, fd, events)
    // The number was used before by the same open file, and its registration has survived.
    return status == -Errno.fileExists.rawValue ? cms_epoll_modify(number, fd, events) : status
  }

  /// Changes what is watched for. Reports what is ready as ``add(_:_:)`` does. 0 or -errno.
  func modify(_ fd: Int32, _ events: UInt32) -> Int32 { cms_epoll_modify(number, fd, events) }

  /// From any thread.
  func remove(_ fd: Int32) {
    descriptor.withLock { descriptor in
      if descriptor != nil { _ = cms_epoll_remove(number, fd) }
    }
  }

  /// Waits for events, at most `timeout` nanoseconds if that is not negative. How many there are,
  /// none also after a signal; or -errno.
  func wait(into events: UnsafeMutableBufferPointer<cms_event>, timeout: Int64) -> Int {
    // SAFETY: the kernel writes at most `events.count` events, during the call only.
    let count = unsafe cms_epoll_wait(number, events.baseAddress!, UInt32(events.count), timeout)
    return count == -Errno.interrupted.rawValue ? 0 : Int(count)
  }

  func close() { descriptor.withLock { $0 = nil } }
}

/// A socket's place in its loop's ``EpollSet``. The socket drops it before it closes its
/// descriptor.
///
/// Closing alone would not do: epoll watches the open file, and that lives on if the socket was
/// sent to somebody else. It would then wake the loop for ever, and could not be taken out any
/// more.
struct EpollRegistration: ~Copyable {
  private let set: EpollSet
  private let number: Int32

  /// For a number that was added to `set`.
  init(of number: Int32, in set: EpollSet) {
    self.set = set
    self.number = number
  }

  deinit { set.remove(number) }
}

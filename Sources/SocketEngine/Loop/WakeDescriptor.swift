// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import CMessageSockets
internal import SystemPackage

/// An eventfd(2) that wakes a waiting loop. Its count is never read: drivers watch it
/// edge-triggered, so that each signal is one event.
struct WakeDescriptor: ~Copyable, Sendable {
  private let descriptor: OwnedFd

  init() throws(SocketError) {
    descriptor = try OwnedFd(adoptingResult: cms_eventfd(), operation: .startLoop)
  }

  /// The number, for the driver to watch. Open as long as the inbox that owns this value.
  var number: Int32 { descriptor.withUnsafeFileDescriptor { $0.rawValue } }

  func signal() {
    // The count would have to reach 2^64 - 2 for this to fail.
    _ = cms_eventfd_signal(number)
  }
}

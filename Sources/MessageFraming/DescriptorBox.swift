// SPDX-License-Identifier: Apache-2.0
package import Ancillary
internal import SocketEngine

/// Descriptors on their way through a closure, where a `~Copyable` value cannot go. They close when
/// the box is dropped, unless they were taken.
package final class DescriptorBox: Sendable {
  private let descriptors: TSanVisibleMutex<OwnedFds>

  package init(_ descriptors: consuming OwnedFds) {
    self.descriptors = TSanVisibleMutex(descriptors)
  }

  /// Gives them away, once.
  package func take() -> OwnedFds {
    descriptors.withLock { descriptors in
      var taken = OwnedFds()
      swap(&taken, &descriptors)
      return taken
    }
  }
}

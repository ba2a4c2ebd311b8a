// SPDX-License-Identifier: Apache-2.0
package import Ancillary
internal import SocketEngine

/// Carries descriptors through a closure, where a `~Copyable` value cannot go. They close when the
/// box is dropped, unless they were taken.
package final class DescriptorBox: Sendable {
  private let descriptors: TSanVisibleMutex<OwnedFds>

  package init(_ descriptors: consuming OwnedFds) {
    self.descriptors = TSanVisibleMutex(descriptors)
  }

  /// Takes the descriptors, once.
  package func take() -> OwnedFds {
    descriptors.withLock { descriptors in
      var taken = OwnedFds()
      swap(&taken, &descriptors)
      return taken
    }
  }
}

// SPDX-License-Identifier: Apache-2.0
internal import SocketEngine

extension Duration {
  /// The time that is left until `deadline`; nil without one.
  @inline(__always)
  init?(until deadline: ContinuousClock.Instant?) {
    guard let deadline else { return nil }
    self.init(until: deadline as ContinuousClock.Instant)
  }
}

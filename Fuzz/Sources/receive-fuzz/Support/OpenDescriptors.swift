// SPDX-License-Identifier: Apache-2.0
import Glibc

/// Fails unless exactly the descriptors in `before` are open. Waits a moment, because another
/// thread closes those that a policy refuses.
func checkDescriptors(are before: Set<Int32>) {
  var after = SimulatedFiles.open()
  var attempts = 0
  while after != before, attempts < 2000 {
    usleep(attempts < 100 ? 20 : 1000)
    after = SimulatedFiles.open()
    attempts += 1
  }
  check(
    before == after,
    "left open: \(after.subtracting(before).sorted()), closed: \(before.subtracting(after).sorted())"
  )
}

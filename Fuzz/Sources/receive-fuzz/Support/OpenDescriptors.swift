// SPDX-License-Identifier: Apache-2.0
import Glibc

/// Fails unless exactly the descriptors are open that were `before`. What a policy has closed,
/// another thread closes: a moment later.
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

// SPDX-License-Identifier: Apache-2.0
/// io_uring cannot be used, and why.
struct RingRefusal: Error {
  let reason: IOLoop.Driver.Reason

  init(_ reason: IOLoop.Driver.Reason) { self.reason = reason }
}

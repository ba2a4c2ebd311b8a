// SPDX-License-Identifier: Apache-2.0
/// A description of an unexpected event.
struct Failure: Error, CustomStringConvertible {
  let description: String

  init(_ description: String) { self.description = description }
}

// SPDX-License-Identifier: Apache-2.0
/// Something that should not have happened, in words.
struct Failure: Error, CustomStringConvertible {
  let description: String

  init(_ description: String) { self.description = description }
}

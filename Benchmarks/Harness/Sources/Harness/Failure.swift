// SPDX-License-Identifier: Apache-2.0
/// A failed check. It ends the program: a benchmark that does less work than it claims is
/// worthless.
public struct Failure: Error, CustomStringConvertible {
  public let description: String

  public init(_ description: String) { self.description = description }
}

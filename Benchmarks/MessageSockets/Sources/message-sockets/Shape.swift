// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser

/// The ways to receive.
enum Shape: String, CaseIterable, ExpressibleByArgument {
  /// `receiveMessage()`
  case receive
  /// `for try await … in messages`
  case messages
  /// `receiveMessage(into:)`, with memory that is kept
  case span
  /// `receiveMessages(upTo:)`
  case batches
}

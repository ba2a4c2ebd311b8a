// SPDX-License-Identifier: Apache-2.0
public import ArgumentParser

/// What a program does; not every program has every mode.
public enum Mode: String, CaseIterable, ExpressibleByArgument, Sendable {
  /// Each pair has one message in flight; the end that receives it answers.
  case pingpong
  /// Ping-pong with the pairs split over two threads.
  case twothreads
  /// Ping-pong with a thread for each end.
  case perside
  /// Ping-pong with the far ends in a separate process.
  case twoprocesses
  /// One end sends as fast as the socket allows, the other receives.
  case oneway
  /// Connections with a receive pending; then one message to each.
  case idle
  /// Connect, accept, one message, close both ends.
  case accept
  /// A pending receive is cancelled, and its end awaited.
  case cancel

  /// Whether the mode counts round trips of two messages.
  var countsRoundTrips: Bool {
    switch self {
    case .pingpong, .twothreads, .perside, .twoprocesses: true
    case .oneway, .idle, .accept, .cancel: false
    }
  }
}

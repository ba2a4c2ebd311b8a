// SPDX-License-Identifier: Apache-2.0
public import ArgumentParser

/// What a program does; not every program has every mode.
public enum Mode: String, CaseIterable, ExpressibleByArgument, Sendable {
  /// Each pair has one message on its way; whoever receives it answers.
  case pingpong
  /// The same, the pairs split over two threads.
  case twothreads
  /// The same with a thread for each end.
  case perside
  /// The same, the far ends in a process of their own.
  case twoprocesses
  /// One end sends as fast as the socket takes it, the other receives.
  case oneway
  /// Connections with a receive pending; then one message to each.
  case idle
  /// Connect, accept, one message, close both ends.
  case accept
  /// A pending receive is cancelled, and its end awaited.
  case cancel

  /// Whether a round trip, two messages, is what the mode counts.
  var countsRoundTrips: Bool {
    switch self {
    case .pingpong, .twothreads, .perside, .twoprocesses: true
    case .oneway, .idle, .accept, .cancel: false
    }
  }
}

// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser
internal import MessageSockets

/// Where the tasks that send and receive run.
enum Place: String, CaseIterable, ExpressibleByArgument {
  /// On the loop of their socket, isolated to an actor of their own on the loop, as a server's
  /// connection may be.
  case actor
  /// On the loop of their socket, which they prefer.
  case loop
  /// On the global pool, so that every call hops.
  case pool
}

/// An actor on a loop.
actor LoopActor {
  nonisolated let unownedExecutor: UnownedSerialExecutor
  /// Held because the loop's executor does not retain it.
  private let loop: IOLoop

  init(_ loop: IOLoop) {
    self.loop = loop
    unownedExecutor = loop.serialExecutor.asUnownedSerialExecutor()
  }

  func run(_ work: nonisolated(nonsending) () async throws -> Void) async throws {
    try await work()
  }
}

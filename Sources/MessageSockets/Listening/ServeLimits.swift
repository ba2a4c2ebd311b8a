// SPDX-License-Identifier: Apache-2.0
/// The limits of ``SocketListener/serve(_:onError:handler:)``.
public struct ServeLimits: Sendable, Hashable {
  /// How many connections are handled at once, 1 or more. Further ones wait in the kernel, as many
  /// as the listener's backlog has room for. Each takes at least one descriptor: stay below
  /// `RLIMIT_NOFILE`.
  ///
  /// - Precondition: 1 or more.
  public var connections: Int { didSet { Self.check(connections) } }

  /// How long handlers may go on after the task of `serve` was cancelled, before they are cancelled
  /// themselves. Zero: not at all.
  public var gracePeriod: Duration

  /// 256 connections, 10 seconds.
  public init(connections: Int = 256, gracePeriod: Duration = .seconds(10)) {
    Self.check(connections)
    self.connections = connections
    self.gracePeriod = gracePeriod
  }

  private static func check(_ connections: Int) {
    precondition(connections > 0, "A server has room for at least one connection")
  }
}

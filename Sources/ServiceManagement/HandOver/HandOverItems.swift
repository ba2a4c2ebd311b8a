// SPDX-License-Identifier: Apache-2.0
internal import SocketEngine

/// The descriptors and the state that go from a process to its successor.
public struct HandOverItems: ~Copyable, Sendable {
  /// Listeners, connections, memory files: any descriptors, by name.
  public var descriptors = NamedDescriptors()
  /// The application's own state, in a form of its own. For much of it, pass a
  /// sealed memory file among the descriptors instead.
  public var state: [UInt8] = []

  /// Nothing.
  public init() {}
}

/// Items that can be taken once.
final class HeldItems: Sendable {
  private let items: TSanVisibleMutex<HandOverItems>

  init(_ items: consuming HandOverItems) { self.items = TSanVisibleMutex(items) }

  /// Takes the items; empty from the second call on.
  func take() -> HandOverItems {
    items.withLock { items in
      var taken = HandOverItems()
      swap(&taken, &items)
      return taken
    }
  }
}

/// A step between a process and its successor, in the order in which they occur: to be logged.
/// More may be added: keep a `default` in every `switch`.
public enum HandOverEvent: Sendable {
  // The predecessor's side.

  /// A process asks to take over.
  case successorConnected
  /// It was told how much will come.
  case offerSent
  /// So many descriptors have been sent.
  case batchSent(Int)
  /// So many have arrived.
  case batchAcknowledged(Int)
  /// All of the state has been sent.
  case stateSent
  /// The successor can begin.
  case successorReady
  /// It was told to begin.
  case goSent
  /// It accepts connections. This process stops.
  case successorServing
  /// It was told to begin, and has not said that it serves: its time is over, it has sent something
  /// else, or has closed the connection and not ended; or this process was cancelled. It may serve,
  /// and what was handed over is its own. This process stops.
  case successorSilent(any Error)
  /// All connections of this process have ended.
  case drained
  /// The hand-over was given up; this process goes on as if nothing had happened.
  case failed(any Error)
  /// The connection to the successor has ended, after it had begun to serve and before this process
  /// had drained. Unless another process has replaced it meanwhile, no process accepts connections
  /// now; the supervisor of both has to act.
  case successorEnded

  // The successor's side.

  /// A predecessor listens.
  case predecessorFound
  /// It was asked.
  case helloSent
  /// It has said how much will come.
  case offerReceived
  /// So many descriptors have arrived.
  case batchReceived(Int)
  /// All descriptors and the state have arrived.
  case everythingReceived
  /// The predecessor was told that this process can begin.
  case readySent
  /// It has said so.
  case goReceived
  /// The predecessor was told that this process accepts connections.
  case servingSent
  /// The predecessor's last connection has ended.
  case predecessorDrained
  /// The predecessor has ended before it had drained, or before it had said that this process can
  /// begin. This process serves with what it has.
  case predecessorEnded
}

/// Limits of time and size for a ``HandOver``.
public struct HandOverLimits: Sendable, Hashable {
  /// How long to wait for the next message of the other side, while that has nothing else to do. 10
  /// seconds.
  public var step = Duration.seconds(10)
  /// How long a successor may take to be ready, from when it has everything; and then to serve,
  /// from when it was told to begin. 60 seconds.
  public var initialization = Duration.seconds(60)
  /// How many descriptors a successor takes over. 65,536; each needs a number below
  /// `RLIMIT_NOFILE`.
  public var descriptors = 65_536
  /// How many bytes of state a successor takes over. 16 MiB.
  public var stateLength = 16 << 20

  /// The values that stand at each.
  public init() {}
}

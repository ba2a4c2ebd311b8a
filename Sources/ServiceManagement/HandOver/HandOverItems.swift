// SPDX-License-Identifier: Apache-2.0
internal import SocketEngine

/// The descriptors and the state that go from a process to its successor.
public struct HandOverItems: ~Copyable, Sendable {
  /// Listeners, connections, memory files: any descriptors, by name.
  public var descriptors = NamedDescriptors()
  /// The application's own state, in a form of its own. For much of it, pass a
  /// sealed memory file among the descriptors instead.
  public var state: [UInt8] = []

  /// Creates items without descriptors and state.
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

/// A step of a hand-over between a process and its successor, for logs. The steps are listed in the
/// order in which they occur. More may be added: keep a `default` in every `switch`.
public enum HandOverEvent: Sendable {
  // The predecessor's side.

  /// A successor has connected and asks to take over.
  case successorConnected
  /// This process has sent the successor the number of descriptors and the size of the state.
  case offerSent
  /// This process has sent a batch. The value is the number of descriptors sent so far, including
  /// the control listener.
  case batchSent(Int)
  /// The successor has acknowledged a batch. The value is the number of descriptors acknowledged so
  /// far.
  case batchAcknowledged(Int)
  /// This process has sent all of its state.
  case stateSent
  /// The successor has reported that it is ready to serve.
  case successorReady
  /// This process has permitted the successor to begin.
  case goSent
  /// The successor has reported that it accepts connections. This process stops.
  case successorServing
  /// The successor was permitted to begin, but has not reported that it serves. Its time has
  /// expired, it has sent another message, it has closed the connection without ending, or this
  /// process was cancelled. The successor may serve, and owns everything that was handed over. This
  /// process stops.
  case successorSilent(any Error)
  /// All connections of this process have ended.
  case drained
  /// A process that asked to take over was refused, or a hand-over has failed. Unless this process
  /// was cancelled, it continues to serve.
  case failed(any Error)
  /// The connection to the successor has ended after the successor had begun to serve and before
  /// this process had drained. Unless another process has replaced the successor, no process
  /// accepts connections now, and the supervisor of both must act.
  case successorEnded

  // The successor's side.

  /// This process has connected to a predecessor.
  case predecessorFound
  /// This process has asked the predecessor to hand over.
  case helloSent
  /// The predecessor has sent the number of descriptors and the size of the state.
  case offerReceived
  /// A batch has arrived. The value is the number of descriptors that have arrived so far.
  case batchReceived(Int)
  /// All descriptors and the state have arrived.
  case everythingReceived
  /// This process has reported that it is ready to serve.
  case readySent
  /// The predecessor has permitted this process to begin.
  case goReceived
  /// This process has reported that it accepts connections.
  case servingSent
  /// The predecessor's last connection has ended.
  case predecessorDrained
  /// The predecessor has ended before it had drained, or before it had permitted this process to
  /// begin. This process serves with what it has received.
  case predecessorEnded
}

/// Limits of time and size for a ``HandOver``.
public struct HandOverLimits: Sendable, Hashable {
  /// How long to wait for the next message of the other side while the protocol expects one. 10
  /// seconds.
  public var step = Duration.seconds(10)
  /// How long a successor may take to be ready after it has received everything, and then to serve
  /// after it was permitted to begin. 60 seconds.
  public var initialization = Duration.seconds(60)
  /// The largest number of descriptors that a successor takes over. 65,536; each needs a number
  /// below `RLIMIT_NOFILE`.
  public var descriptors = 65_536
  /// The largest number of bytes of state that a successor takes over. 16 MiB.
  public var stateLength = 16 << 20

  /// The default limits, which each property names.
  public init() {}
}

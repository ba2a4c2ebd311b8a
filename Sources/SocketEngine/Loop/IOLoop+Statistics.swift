// SPDX-License-Identifier: Apache-2.0
internal import Synchronization

extension IOLoop {
  /// The counters of a loop since it started. Counting costs an addition each, and is always on.
  public struct Statistics: Sendable, Equatable {
    /// System calls that submitted requests or waited for completions (`io_uring_enter`).
    public internal(set) var enters: UInt64 = 0
    /// Requests handed to the kernel, cancellations and the watch on the wake-up included.
    public internal(set) var submissions: UInt64 = 0
    /// Completions of operations, and sends that did without the ring: those are neither in
    /// ``submissions`` nor in ``enters``.
    public internal(set) var completions: UInt64 = 0

    /// Jobs of Swift's concurrency runtime that ran on the loop.
    public internal(set) var jobs: UInt64 = 0
    /// Jobs that came from another thread: each is a thread hop of a task to the loop.
    public internal(set) var hops: UInt64 = 0
    /// Jobs that the runtime enqueued on the loop's own thread: switches between the two faces of
    /// the loop, no hops.
    public internal(set) var localEnqueues: UInt64 = 0

    /// Turns whose jobs kept the loop from its sockets for more than 10 ms: all of them waited so
    /// long. Such jobs block, or calculate; they belong elsewhere. Counted on a clock of 1 to 10
    /// ms.
    public internal(set) var longTurns: UInt64 = 0

    /// How long the jobs of these turns took, in all; measured on the same clock.
    public internal(set) var longTurnTime = Duration.zero

    /// Sockets and listeners of the loop that are open now, those that are closing included.
    public internal(set) var openSockets = 0

    /// Messages sent whole.
    public internal(set) var messagesSent: UInt64 = 0
    /// Bytes sent, those of sends that failed or were stopped half-way included.
    public internal(set) var bytesSent: UInt64 = 0
    /// Messages received.
    public internal(set) var messagesReceived: UInt64 = 0
    public internal(set) var bytesReceived: UInt64 = 0
    /// Descriptors that arrived, and got an owner; those of a message that was peeked at count
    /// again.
    public internal(set) var descriptorsReceived: UInt64 = 0
    /// Of these: closed on arrival by a ``ReceivePolicy``, as surplus, as not admitted, or with the
    /// message that it dropped.
    public internal(set) var descriptorsRefused: UInt64 = 0
    /// Of these: taken out of their messages, or handed over with ``ReceivedEnvelope``. Descriptors
    /// that are neither taken nor refused have closed with their message, or are still in it.
    public internal(set) var descriptorsTaken: UInt64 = 0

    /// Operations that were asked to stop while the kernel had them, or waited for a message that
    /// it receives ahead; and sleeps.
    public internal(set) var cancellations: UInt64 = 0
    /// Of these: ended without having done anything.
    public internal(set) var cancelled: UInt64 = 0
    /// Of these: stream sends that ended after some of their bytes.
    public internal(set) var stoppedPartWay: UInt64 = 0
    /// Of these: had already succeeded or failed by themselves; their outcome was delivered.
    public internal(set) var wonAgainstCancellation: UInt64 = 0
    /// Operations that were asked to stop while they waited for their turn on the socket.
    public internal(set) var stoppedBeforeSubmission: UInt64 = 0

    /// Multishot receives that were armed.
    public internal(set) var multishotStarts: UInt64 = 0
    /// Multishot receives that ended: their window was full, the socket or the kernel had enough,
    /// or the stream was at its end.
    public internal(set) var multishotEnds: UInt64 = 0
    /// Of these: were stopped, because their window was full or their socket was closed. Not
    /// counted among the cancellations.
    public internal(set) var multishotStops: UInt64 = 0

    init() {}

    mutating func add(_ counters: DriverCounters) {
      enters += counters.enters
      submissions += counters.submissions
    }
  }
}

/// Counts a loop's sockets that are open. They are made and dropped on any thread.
final class OpenSocketCounter: Sendable {
  private let counter = Atomic(0)

  init() {}

  func add(_ count: Int) {
    let now = counter.add(count, ordering: .relaxed).newValue
    assert(now >= 0, "A socket has closed twice")
  }

  var count: Int { counter.load(ordering: .relaxed) }
}

/// Counts the descriptors that were taken from a loop's messages, on any thread.
package final class TakenDescriptorCounter: Sendable {
  private let counter = Atomic<UInt64>(0)

  init() {}

  package func add(_ count: Int) { counter.add(UInt64(count), ordering: .relaxed) }

  var count: UInt64 { counter.load(ordering: .relaxed) }
}

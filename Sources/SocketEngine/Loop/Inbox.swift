// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import CMessageSockets
internal import Synchronization
internal import SystemPackage

/// Requests from other threads to a loop. The inbox is the only part of a loop that threads share.
final class Inbox: Sendable {
  enum Item: Sendable {
    /// Run a job.
    case job(UnownedJob, ExecutorState)
    /// Jobs were added to those that any loop may run; the value is their number.
    case look(Int)
    /// Run a job when its time comes.
    case schedule(UnownedJob, LoopTime)
    /// Run jobs of this queue from now on.
    case shareJobs(UnboundJobs)
    /// Stop an operation if the identifier is still current.
    case stop(OperationID, StopReason)
    /// Free the slot of an operation whose outcome has been taken.
    case recycle(Operation)
    /// The handle of a socket was released while the kernel receives ahead for it.
    case handleReleased(OpenSocket)
    /// Start to drain the socket.
    case drain(OpenSocket)
    /// Return received bytes that were not used to their stream.
    case unread(SocketChannel, UnreadPiece)
    /// Another thread has closed the socket's descriptor. The closure holds the socket weakly: a
    /// waiting task holds the socket, and an item that is never taken must not.
    case closed(@Sendable () -> OpenSocket?)
    /// End the thread, because no reference to the loop is left.
    case exit
  }

  private struct State {
    var items: [Item] = []
    /// Whether the loop waits or is about to, so that the next item must wake it.
    var isAsleep = false
  }

  private let state = TSanVisibleMutex(State())
  /// Lets the loop skip the lock in turns without new items.
  private let isEmpty = Atomic(true)
  /// Written to wake the loop; its driver watches it.
  let wakeDescriptor: WakeDescriptor

  init() throws(SocketError) { wakeDescriptor = try WakeDescriptor() }

  func send(_ item: Item) {
    let mustWake = state.withLock { state in
      state.items.append(item)
      isEmpty.store(false, ordering: .releasing)
      defer { state.isAsleep = false }
      return state.isAsleep
    }
    if mustWake { wakeDescriptor.signal() }
  }

  /// Moves all items into `items`, which must be empty; the inbox keeps the memory of `items`.
  func take(into items: inout [Item]) {
    assert(items.isEmpty)
    guard !isEmpty.load(ordering: .acquiring) else { return }
    state.withLock { state in
      swap(&state.items, &items)
      isEmpty.store(true, ordering: .relaxed)
    }
  }

  /// Marks the loop as asleep. Returns false if items have arrived; the loop must not wait then.
  func fallAsleep() -> Bool {
    state.withLock { state in
      guard state.items.isEmpty else { return false }
      state.isAsleep = true
      return true
    }
  }

  /// Marks the loop as awake, so that new items need no signal.
  func wakeUp() { state.withLock { $0.isAsleep = false } }
}

/// An eventfd(2) that wakes a waiting loop. Its count is never read: drivers watch it
/// edge-triggered, so each signal is one event.
struct WakeDescriptor: ~Copyable, Sendable {
  private let descriptor: OwnedFd

  init() throws(SocketError) {
    descriptor = try OwnedFd(adoptingResult: cms_eventfd(), operation: .startLoop)
  }

  /// The descriptor for the driver to watch. It is open as long as the inbox that owns this value.
  var number: Int32 { descriptor.withUnsafeFileDescriptor { $0.rawValue } }

  func signal() {
    // The call fails only when the count reaches 2^64 - 2.
    _ = cms_eventfd_signal(number)
  }
}

/// The rest of a stream's piece, on its way back to the loop's thread.
final class UnreadPiece: Sendable {
  private let piece: Mutex<OperationOutcome?>

  init(_ piece: consuming OperationOutcome) { self.piece = Mutex(piece) }

  func take() -> OperationOutcome? { piece.withLock { $0.take() } }
}

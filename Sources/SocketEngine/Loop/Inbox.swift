// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets
internal import Synchronization

/// What other threads ask of a loop. The only part of a loop that is shared between threads.
final class Inbox: Sendable {
  enum Item: Sendable {
    /// Run a job.
    case job(UnownedJob, ExecutorState)
    /// Stop an operation, if it is still the one that was meant.
    case stop(OperationID, StopReason)
    /// Free the slot of an operation whose outcome was taken.
    case recycle(Operation)
    /// The handle of a socket is gone while the kernel receives ahead for it.
    case abandon(OpenSocket)
    /// Give back to a stream what was received from it and not used.
    case putBack(SocketChannel, ArraySlice<UInt8>)
    /// Another thread has closed the socket's descriptor. Weakly: who waits for it holds the
    /// socket, and an item that is never taken must not.
    case closed(@Sendable () -> OpenSocket?)
    /// Nobody can reach the loop any more: end the thread.
    case exit
  }

  private struct State {
    var items: [Item] = []
    /// The loop waits, or is about to: the next item must wake it.
    var isAsleep = false
  }

  private let state = VisibleMutex(State())
  /// Lets the loop skip the lock in the turns in which nobody sent anything.
  private let isEmpty = Atomic(true)
  /// An eventfd, written to wake the loop; its driver watches it.
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

  /// Moves all items into `items`, which must be empty; its memory becomes the inbox's.
  func take(into items: inout [Item]) {
    assert(items.isEmpty)
    guard !isEmpty.load(ordering: .acquiring) else { return }
    state.withLock { state in
      swap(&state.items, &items)
      isEmpty.store(true, ordering: .relaxed)
    }
  }

  /// The loop is about to wait. False if something has arrived meanwhile: then it must not.
  func fallAsleep() -> Bool {
    state.withLock { state in
      guard state.items.isEmpty else { return false }
      state.isAsleep = true
      return true
    }
  }

  /// The loop has woken by itself: nobody needs to signal.
  func wakeUp() { state.withLock { $0.isAsleep = false } }
}

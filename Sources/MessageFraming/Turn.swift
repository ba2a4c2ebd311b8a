// SPDX-License-Identifier: Apache-2.0
internal import DequeModule
internal import SocketEngine

/// A line in which tasks wait for their turn, first come, first served: one task at a time, or as
/// many as there are places. Taking a free place costs a lock and no suspension.
final class Turn: Sendable {
  private struct Waiter {
    var id: UInt64
    var continuation: CheckedContinuation<Void, any Error>
  }

  private struct State {
    var free: Int
    var waiters = Deque<Waiter>()
    var nextID: UInt64 = 0
  }

  private let places: Int
  private let state: TSanVisibleMutex<State>

  init(places: Int = 1) {
    self.places = places
    state = TSanVisibleMutex(State(free: places))
  }

  /// Waits for a turn and takes it. Each turn must be given back.
  ///
  /// - Throws: `CancellationError`, without taking the turn. A free turn is taken even by a
  ///   cancelled task.
  func take() async throws {
    if takeIfFree() { return }
    let id = state.withLock { state in
      state.nextID += 1
      return state.nextID
    }
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        wait(Waiter(id: id, continuation: continuation))
      }
    } onCancel: {
      remove(id)?.resume(throwing: CancellationError())
    }
  }

  /// Passes the turn to the next task.
  func giveBack() {
    let next = state.withLock { state -> Waiter? in
      assert(state.free < places, "A turn is given back that was not taken")
      let next = state.waiters.popFirst()
      if next == nil { state.free += 1 }
      return next
    }
    next?.continuation.resume()
  }

  /// Takes the turn if it is free. Returns false if the caller would have to wait.
  func takeIfFree() -> Bool {
    state.withLock { state in
      if state.free == 0 { return false }
      state.free -= 1
      return true
    }
  }

  private func wait(_ waiter: Waiter) {
    let outcome = state.withLock { state -> Result<Void, any Error>? in
      if state.free > 0 {
        state.free -= 1
        return .success(())
      }
      // An earlier cancellation found no waiter to resume; a later one finds this waiter.
      if Task.isCancelled { return .failure(CancellationError()) }
      state.waiters.append(waiter)
      return nil
    }
    if let outcome { waiter.continuation.resume(with: outcome) }
  }

  private func remove(_ id: UInt64) -> CheckedContinuation<Void, any Error>? {
    state.withLock { state in
      guard let index = state.waiters.firstIndex(where: { $0.id == id }) else { return nil }
      return state.waiters.remove(at: index).continuation
    }
  }
}

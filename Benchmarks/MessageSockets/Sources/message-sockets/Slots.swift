// SPDX-License-Identifier: Apache-2.0
internal import Synchronization

/// A counter that tasks can wait for, and that any task can raise.
final class Slots: Sendable {
  private struct State {
    var free: Int
    var waiting: [UnsafeContinuation<Void, Never>] = []
  }

  private let state: Mutex<State>

  init(_ free: Int) { state = Mutex(State(free: free)) }

  func release() {
    let waiting: UnsafeContinuation<Void, Never>? = state.withLock { state in
      if let waiting = state.waiting.popLast() { return waiting }
      state.free += 1
      return nil
    }
    waiting?.resume()
  }

  func acquire() async {
    await withUnsafeContinuation { continuation in
      let isFree = state.withLock { state in
        if state.free == 0 {
          state.waiting.append(continuation)
          return false
        }
        state.free -= 1
        return true
      }
      if isFree { continuation.resume() }
    }
  }

  func acquire(_ count: Int) async {
    for _ in 0..<count { await acquire() }
  }
}

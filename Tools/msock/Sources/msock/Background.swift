// SPDX-License-Identifier: Apache-2.0
import Foundation
import MessageSockets
import Synchronization

/// Runs a blocking function on a separate thread, so that a time limit can be kept.
///
/// - Throws: The errors of `body`. `CancellationError` as soon as the task is cancelled; the thread
///   is then abandoned, and ends with the process.
func awayFromTheLoop<Result: Sendable>(
  _ body: @escaping @Sendable () throws -> Result
) async throws -> Result {
  let outcome = Outcome<Result>()
  return try await withTaskCancellationHandler {
    try await withCheckedThrowingContinuation { continuation in
      outcome.wait(continuation)
      Thread.detachNewThread { outcome.set(Swift.Result { try body() }) }
    }
  } onCancel: {
    outcome.set(.failure(CancellationError()))
  }
}

/// The first result that is set, for one waiting task.
private final class Outcome<Value: Sendable>: Sendable {
  private enum State {
    case open
    case awaited(CheckedContinuation<Value, any Error>)
    case set(Result<Value, any Error>)
  }

  private let state = Mutex(State.open)

  func wait(_ continuation: CheckedContinuation<Value, any Error>) {
    let early: Result<Value, any Error>? = state.withLock { state in
      if case .set(let result) = state { return result }
      state = .awaited(continuation)
      return nil
    }
    if let early { continuation.resume(with: early) }
  }

  func set(_ result: Result<Value, any Error>) {
    let waiter: CheckedContinuation<Value, any Error>? = state.withLock { state in
      defer { if case .set = state {} else { state = .set(result) } }
      if case .awaited(let continuation) = state { return continuation }
      return nil
    }
    waiter?.resume(with: result)
  }
}

/// Holds descriptors on their way from one task or thread to another.
final class FilesInTransit: Sendable {
  private let files: Mutex<OwnedFds>

  init(_ files: consuming OwnedFds) { self.files = Mutex(files) }

  /// Takes all of them, once.
  func take() -> OwnedFds {
    files.withLock { files in
      var taken = OwnedFds()
      swap(&taken, &files)
      return taken
    }
  }
}

// SPDX-License-Identifier: Apache-2.0
/// The life of one operation, as a pure state machine: events in, the action to perform out.
///
/// ```
/// free ──queue──▶ queued ──submit──▶ inKernel ──final completion──▶ done ──recycle──▶ free
///                    │                   └─stop─▶ stopping ──final completion──▶ done
///                    └──────────stop────────────────────────────────────────────▶ done
/// ```
/// There is no way from `inKernel` or `stopping` to `done` but the kernel's final completion:
/// whatever the kernel may still read or write stays alive until then.
package struct OperationLife: Sendable {
  package enum State: Sendable, Equatable {
    /// In the pool.
    case free
    /// Prepared, waiting for its turn on the socket; the kernel does not know it.
    case queued
    /// Submitted.
    case inKernel
    /// Submitted, and the kernel has been asked to cancel it.
    case stopping
    /// The outcome is known and waits for its task.
    case done
  }

  package enum StopAction: Equatable {
    /// Too late, or asked before: the outcome stands or is on its way.
    case none
    /// Never submitted: finish it here and now.
    case finish
    /// Ask the kernel to cancel; its final completion decides who won.
    case cancelInKernel
  }

  package private(set) var state = State.free
  /// The first reason for which the operation was asked to stop.
  package private(set) var stopReason: StopReason?

  package init() {}

  package mutating func queue() {
    precondition(state == .free, "An operation was taken from the pool while it was \(state)")
    state = .queued
  }

  package mutating func submit() {
    precondition(state == .queued, "An operation was submitted while it was \(state)")
    state = .inKernel
  }

  package mutating func stop(_ reason: StopReason) -> StopAction {
    switch state {
    case .queued:
      stopReason = reason
      state = .done
      return .finish
    case .inKernel:
      stopReason = reason
      state = .stopping
      return .cancelInKernel
    case .stopping, .done:
      return .none
    case .free:
      preconditionFailure(
        "An operation was stopped while it was free: its identifier should not have matched")
    }
  }

  /// Whether a completed part may be followed by another submission (the rest of a short send): not
  /// once it was stopped.
  package var mayContinue: Bool { state == .inKernel }

  /// The final completion was seen.
  package mutating func finish() {
    precondition(
      state == .inKernel || state == .stopping,
      "A completion arrived for an operation that was \(state)")
    state = .done
  }

  package mutating func recycle() {
    precondition(state == .done, "An operation was recycled while it was \(state)")
    state = .free
    stopReason = nil
  }
}

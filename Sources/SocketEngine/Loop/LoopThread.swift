// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets
internal import SystemPackage

/// A loop's thread, as the objects that may hand it jobs see it. When the last of them is gone the
/// thread ends.
///
/// It is retained by the loop and by both executors: a task retains the executor that it prefers,
/// so that a loop outlives its handle while a task can still come back to it. The thread itself
/// retains the core, never this object.
final class LoopThread: Sendable {
  let inbox: Inbox
  let core: LoopCore

  init(configuration: IOLoop.Configuration) throws(SocketError) {
    inbox = try Inbox()
    core = LoopCore(configuration: configuration, inbox: inbox)
  }

  /// Starts the thread, and waits (about 200 µs) until its driver stands.
  func start() throws(SocketError) {
    let start = try Start(core: core)
    try start.await(name: core.configuration.name)
  }

  deinit { inbox.send(.exit) }

  var isCurrent: Bool { core.isCurrent }

  func enqueue(_ job: UnownedJob, state: ExecutorState) {
    if core.isCurrent {
      core.enqueueLocally(ReadyJob(job: job, state: state))
    } else {
      inbox.send(.job(job, state))
    }
  }
}

/// The handshake between the thread that starts a loop and the loop's own. `@unchecked Sendable`:
/// the new thread writes `failure` before it opens the gate, the other reads it after.
@safe
private final class Start: @unchecked Sendable {
  private let core: LoopCore
  private let gate: OpaquePointer
  private var failure: SocketError?

  init(core: LoopCore) throws(SocketError) {
    guard let gate = unsafe cms_gate_create() else { throw SocketError(.outOfMemory, .startLoop) }
    self.core = core
    unsafe self.gate = gate
  }

  deinit { unsafe cms_gate_destroy(gate) }

  func await(name: String) throws(SocketError) {
    // SAFETY: the new thread takes this reference over and releases it; no completion or task
    // depends on it.
    let context = unsafe Unmanaged.passRetained(self)
    let status = unsafe cms_thread_start({ unsafe Start.threadBody($0) }, context.toOpaque(), name)
    guard status == 0 else {
      unsafe context.release()
      throw SocketError(result: status, .startLoop)
    }
    unsafe cms_gate_wait(gate)
    if let failure { throw failure }
  }

  private static func threadBody(_ context: UnsafeMutableRawPointer?) {
    // SAFETY: the reference that `await(name:)` passed, taken once.
    let core = unsafe Unmanaged<Start>.fromOpaque(context!).takeRetainedValue().open()
    core?.run()
  }

  /// Opens the loop on its thread, and the gate in any case. Nil if there is nothing to run.
  private func open() -> LoopCore? {
    defer { unsafe cms_gate_open(gate) }
    do {
      try core.open()
      return core
    } catch {
      failure = error
      return nil
    }
  }
}

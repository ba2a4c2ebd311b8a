public import Ancillary
internal import CMessageSockets
internal import Synchronization

/// Descriptors on their way to be closed by a thread of their own, because close(2) may wait for whoever is behind them: the server of a FUSE file, a socket that lingers, a network file
/// system. (Docs/Decisions/closing-elsewhere.md)
///
/// The thread starts with the first descriptor and ends with the last, so that most programs never have one. Each socket with a policy has a queue, so that a descriptor that cannot be closed
/// holds up only those of the same peer; a thread that is held up has at least one descriptor open, which bounds how many there can be.
package final class ClosingQueue: Sendable {
  private struct State: ~Copyable, Sendable {
    var descriptors = OwnedFds()
    var hasThread = false
  }

  private let state = Mutex(State())
  private let waiting = Atomic(0)

  package init() {}

  /// For descriptors that belong to no socket.
  package static let shared = ClosingQueue()

  /// How many descriptors have not been closed yet.
  package var count: Int { waiting.load(ordering: .acquiring) }

  /// Takes all of `descriptors`, and returns at once.
  package func close(_ descriptors: inout OwnedFds) {
    if descriptors.isEmpty { return }
    waiting.add(descriptors.count, ordering: .acquiringAndReleasing)
    let needsThread = state.withLock { state in
      while let descriptor = descriptors.takeFirst() { state.descriptors.append(descriptor) }
      defer { state.hasThread = true }
      return !state.hasThread
    }
    if needsThread { startThread() }
  }

  private func startThread() {
    // SAFETY: the new thread takes this reference over and releases it.
    let context = unsafe Unmanaged.passRetained(self)
    let body: @convention(c) (UnsafeMutableRawPointer?) -> Void = { context in
      unsafe Unmanaged<ClosingQueue>.fromOpaque(context!).takeRetainedValue().closeAll()
    }
    guard unsafe cms_thread_start(body, context.toOpaque(), "closing") != 0 else { return }
    unsafe context.release()
    // The system has no thread left. Waiting is better than leaking.
    closeAll()
  }

  private func closeAll() {
    while let descriptor = next() {
      _ = consume descriptor
      waiting.subtract(1, ordering: .acquiringAndReleasing)
    }
  }

  private func next() -> OwnedFd? {
    state.withLock { state in
      let descriptor = state.descriptors.takeFirst()
      if descriptor == nil { state.hasThread = false }
      return descriptor
    }
  }
}

extension OwnedFd {
  /// Closes on another thread, and returns at once: for a descriptor of a peer that is not trusted, on a loop's thread, which close(2) may keep waiting. Errors are ignored.
  public consuming func closeElsewhere() {
    var one = OwnedFds()
    one.append(self)
    ClosingQueue.shared.close(&one)
  }
}

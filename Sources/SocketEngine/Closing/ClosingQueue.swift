// SPDX-License-Identifier: Apache-2.0
public import Ancillary
internal import CMessageSockets
internal import Synchronization

/// Descriptors on their way to be closed by a thread of their own, because close(2) may wait for
/// whoever is behind them: the server of a FUSE file, a socket that lingers, a network file system.
/// (Docs/Decisions/closing-elsewhere.md)
///
/// A thread starts with the first descriptor and ends with the last, so that most programs never
/// have one. Each socket with a policy has a queue, so that a descriptor that cannot be closed
/// holds up only those of the same peer; a thread that is held up has at least one descriptor open,
/// which bounds how many there can be. A queue for several peers has several threads.
package final class ClosingQueue: Sendable {
  private struct State: ~Copyable, Sendable {
    var descriptors = OwnedFds()
    var threads = 0
  }

  private let state = VisibleMutex(State())
  private let waiting = Atomic(0)
  private let maximumThreads: Int
  /// Called by a thread that has closed the last descriptor.
  private let whenEmpty: @Sendable () -> Void

  /// - Parameter threads: At most so many descriptors are being closed at once.
  package init(threads: Int = 1, whenEmpty: @escaping @Sendable () -> Void = {}) {
    maximumThreads = threads
    self.whenEmpty = whenEmpty
  }

  /// For descriptors that belong to no socket.
  package static let shared = ClosingQueue(threads: 8)

  /// How many descriptors have not been closed yet.
  package var count: Int { waiting.load(ordering: .acquiring) }

  /// Takes all of `descriptors`, and returns at once.
  package func close(_ descriptors: inout OwnedFds) {
    if descriptors.isEmpty { return }
    let added = descriptors.count
    waiting.add(added, ordering: .acquiringAndReleasing)
    let newThreads = state.withLock { state in
      while let descriptor = descriptors.takeFirst() { state.descriptors.append(descriptor) }
      let newThreads = min(added, maximumThreads - state.threads)
      state.threads += newThreads
      return newThreads
    }
    for _ in 0..<newThreads { startThread() }
  }

  /// The same for one.
  package func close(_ descriptor: consuming OwnedFd) {
    var one = OwnedFds()
    one.append(descriptor)
    close(&one)
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
      if waiting.subtract(1, ordering: .acquiringAndReleasing).newValue == 0 { whenEmpty() }
    }
  }

  private func next() -> OwnedFd? {
    state.withLock { state in
      let descriptor = state.descriptors.takeFirst()
      if descriptor == nil { state.threads -= 1 }
      return descriptor
    }
  }
}

extension OwnedFd {
  /// Closes on another thread, and returns at once: for a descriptor of a peer that is not trusted,
  /// on a loop's thread, which close(2) may keep waiting. Errors are ignored.
  public consuming func closeElsewhere() {
    ClosingQueue.shared.close(self)
  }
}

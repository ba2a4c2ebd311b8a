// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import CMessageSockets
internal import SystemPackage

/// The accepts of a loop that run on threads of their own: at most one for each listener.
///
/// A blocking call can only be interrupted from outside by a signal handler, and signal handlers
/// belong to the program. To cancel the call, the driver connects to the listener itself
/// ("knocks"): the call then returns with that connection, or with another one, which has won
/// against the cancellation. Only if no such connection can be made does the thread stay behind;
/// the next accept then gets its connection.
struct BlockedAccepts: ~Copyable {
  fileprivate struct Entry {
    let operation: Operation
    let id: OperationID
    let thread: AcceptingThread
    var knocks = 0
    /// How often knocking was impossible.
    var failures = 0
    /// When to knock next; nil unless the accept was cancelled.
    var due: LoopTime?
  }

  /// An accept whose thread has returned.
  struct Ended {
    let operation: Operation
    /// A connection's number, or -errno; nil if it was a knock that is no longer needed.
    let result: Int32?
  }

  private var entries: [Entry] = []

  /// Other processes may take our knocks. The kernel serves waiting callers in turn, so one knock
  /// more than there are other waiters makes the thread return.
  fileprivate static let maximumKnocks = 64
  /// At 16 ms intervals, this is an eighth of a second in total.
  fileprivate static let maximumFailures = 8

  init() {}

  /// The time of the next knock, unless a thread returns earlier.
  var next: LoopTime? { entries.isEmpty ? nil : entries.compactMap(\.due).min() }

  /// Records that a thread performs the accept from now on.
  mutating func add(_ operation: Operation, _ thread: AcceptingThread) {
    entries.append(Entry(operation: operation, id: operation.id, thread: thread))
  }

  /// Asks for an accept's early end. Does nothing if no thread performs it.
  mutating func cancel(_ id: OperationID) {
    guard let index = entries.firstIndex(where: { $0.id == id }) else { return }
    entries[index].due = entries[index].due ?? LoopTime.now
  }

  /// Removes and returns the accepts that have ended; sends the knocks that are due.
  mutating func takeEnded() -> [Ended] {
    if entries.isEmpty { return [] }
    let now = LoopTime.now
    var ended: [Ended] = []
    var left: [Entry] = []
    for var entry in entries {
      if let end = entry.end(at: now) { ended.append(end) } else { left.append(entry) }
    }
    entries = left
    return ended
  }
}

extension BlockedAccepts.Entry {
  /// Returns how the accept has ended, if it has. Knocks if it is time to.
  fileprivate mutating func end(at now: LoopTime) -> BlockedAccepts.Ended? {
    if let result = thread.takeResult() {
      guard operation.withSocket({ $0.sharedAccepts.closeIfOurs(result) }) ?? false else {
        return ended(result)
      }
      return ended(due == nil ? nil : -Errno.canceled.rawValue)
    }
    guard let due, due <= now else { return nil }
    if knocks == BlockedAccepts.maximumKnocks || failures == BlockedAccepts.maximumFailures {
      operation.withSocket { $0.sharedAccepts.stranded = thread }
      return ended(-Errno.canceled.rawValue)
    }
    knockIfNeeded()
    self.due = LoopTime(after: .milliseconds(failures > 0 ? 16 : 1))
    return nil
  }

  private func ended(_ result: Int32?) -> BlockedAccepts.Ended {
    BlockedAccepts.Ended(operation: operation, result: result)
  }

  /// Knocks, unless a connection already waits: then the thread returns anyway.
  private mutating func knockIfNeeded() {
    if thread.isAboutToReturn { return }
    guard let knock = thread.knock() else {
      failures += 1
      return
    }
    knocks += 1
    operation.withSocket { $0.sharedAccepts.knocks.append(knock) }
  }
}

/// The leftovers of cancelled accepts on a listener.
struct SharedAccepts {
  /// A thread that is still blocked in accept4(2). Its connection goes to the next accept.
  var stranded: AcceptingThread?
  /// Our own connections, which no accept may return. They are in the listener's queue, or another
  /// process has accepted them.
  var knocks: [Knock] = []

  /// Notes that the listener's queue is empty.
  mutating func noteEmptyQueue() { if !knocks.isEmpty { knocks = [] } }

  /// Closes an accepted connection if it is the other end of a knock; returns whether it was.
  mutating func closeIfOurs(_ connection: Int32) -> Bool {
    guard connection >= 0, let index = knocks.firstIndex(where: { $0.isPeer(of: connection) })
    else {
      return false
    }
    _ = cms_close(connection)
    knocks.remove(at: index)
    return true
  }
}

/// One accept4(2) on a thread of its own, for a listener whose open file is not `O_NONBLOCK`:
/// another process that shares the listener may take the connection that the loop was notified of,
/// and the call then blocks until the next one. (Docs/Decisions/0023-accepting-elsewhere.md)
///
/// The thread ends with the call. Its result stays in this object until it is taken; a connection
/// that is not taken closes with this object.
final class AcceptingThread: Sendable {
  private struct State: ~Copyable {
    var connection: OwnedFd?
    /// The error of the call, if it failed.
    var error: Int32?
  }

  private let state = TSanVisibleMutex(State())
  /// A copy, because the listener may be closed and its number reused before the call is made.
  private let listener: OwnedFd
  private let inbox: Inbox

  /// Starts the thread, which wakes the loop of `inbox` when it has a result.
  ///
  /// - Throws: `Errno`: `tooManyOpenFiles`; `resourceTemporarilyUnavailable` if no thread can be
  ///   started.
  init(listener number: Int32, inbox: Inbox) throws(Errno) {
    let copy = cms_duplicate(number)
    guard copy >= 0 else { throw Errno(rawValue: -copy) }
    listener = OwnedFd(adopting: FileDescriptor(rawValue: copy))
    self.inbox = inbox
    // SAFETY: the new thread takes over this reference and releases it.
    let context = unsafe Unmanaged.passRetained(self)
    let body: @convention(c) (UnsafeMutableRawPointer?) -> Void = { context in
      unsafe Unmanaged<AcceptingThread>.fromOpaque(context!).takeRetainedValue().accept()
    }
    let status = unsafe cms_thread_start(body, context.toOpaque(), "accepting")
    guard status == 0 else {
      unsafe context.release()
      throw Errno(rawValue: -status)
    }
  }

  private func accept() {
    let result = listener.withUnsafeFileDescriptor { cms_accept($0.rawValue) }
    state.withLock { state in
      if result < 0 {
        state.error = result
      } else {
        state.connection = OwnedFd(adopting: FileDescriptor(rawValue: result))
      }
    }
    inbox.wakeDescriptor.signal()
  }

  /// Takes the result of the call, once: the connection's number, which the caller then owns, or
  /// -errno. Nil if the call still blocks.
  func takeResult() -> Int32? {
    state.withLock { state in
      if let connection = state.connection.take() { return connection.release().rawValue }
      return state.error.take()
    }
  }

  /// Whether a connection waits, so that the call returns by itself.
  var isAboutToReturn: Bool { listener.withUnsafeFileDescriptor { cms_is_readable($0.rawValue) } }

  /// Connects to the listener so that the call returns; nil if that is not possible.
  func knock() -> Knock? { listener.withUnsafeFileDescriptor { Knock(on: $0.rawValue) } }
}

/// A connection of ours to a listener, made to end a blocked accept4(2). It sends nothing.
final class Knock {
  private let socket: OwnedFd
  private let name: AnySocketAddress?

  init?(on listener: Int32) {
    var kind: Int32 = 0
    var length: UInt32 = 4
    guard let address = try? AnySocketAddress.local(of: listener), let family = address.family,
      unsafe cms_get_option(listener, cms_sol_socket, cms_so_type, &kind, &length) == 0
    else { return nil }
    let number = cms_socket(family, kind)
    guard number >= 0 else { return nil }
    socket = OwnedFd(adopting: FileDescriptor(rawValue: number))
    _ = cms_set_nonblocking(number, true)
    // A Unix socket has no name unless it is bound. This bind makes the kernel choose an abstract
    // name.
    if family == cms_family_unix {
      var unnamed = UInt16(cms_family_unix)
      _ = unsafe cms_bind(number, &unnamed, 2)
    }
    let status = unsafe address.bytes.withUnsafeBytes {
      unsafe cms_connect(number, $0.baseAddress, UInt32($0.count))
    }
    switch Errno(rawValue: -status) {
    // TCP connects in the background. If the queue is full, there is a connection to accept
    // already.
    case _ where status >= 0, .nowInProgress, .resourceTemporarilyUnavailable: break
    default: return nil
    }
    name = try? AnySocketAddress.local(of: number)
  }

  /// Whether this is the other end of `connection`.
  func isPeer(of connection: Int32) -> Bool {
    guard let name, let peer = try? AnySocketAddress.peer(of: connection) else { return false }
    return peer == name
  }
}

// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import CMessageSockets
internal import SystemPackage

/// The accepts of a loop that threads of their own have in hand: at most one for each listener.
///
/// A call that blocks cannot be stopped from outside without a signal handler, which is the
/// program's. To cancel it the driver connects to the listener itself: the call comes back with
/// that connection, or with another's, which has won against the cancellation. Only where no such
/// connection can be made does the thread stay behind; then its connection is the next accept's.
struct BlockedAccepts: ~Copyable {
  fileprivate struct Entry {
    let operation: Operation
    let id: OperationID
    let thread: AcceptingThread
    var knocks = 0
    /// How often there was no way to knock.
    var failures = 0
    /// When to knock again; nil unless the accept was cancelled.
    var due: LoopTime?
  }

  /// An accept whose thread is back.
  struct Ended {
    let operation: Operation
    /// A connection's number, or -errno; nil if it was a connection of ours that nothing needs any
    /// more.
    let result: Int32?
  }

  private var entries: [Entry] = []

  /// Other processes may take our connections, too: the kernel serves those that wait in turn, so
  /// that with as many knocks as there are others, and one, the thread is back.
  fileprivate static let maximumKnocks = 64
  /// 16 ms apart: an eighth of a second in all.
  fileprivate static let maximumFailures = 8

  init() {}

  /// When something is to be done, if no thread comes back before.
  var next: LoopTime? { entries.isEmpty ? nil : entries.compactMap(\.due).min() }

  /// A thread has the accept in hand from now on.
  mutating func add(_ operation: Operation, _ thread: AcceptingThread) {
    entries.append(Entry(operation: operation, id: operation.id, thread: thread))
  }

  /// Asks for an accept's early end; nothing happens if no thread has it.
  mutating func cancel(_ id: OperationID) {
    guard let index = entries.firstIndex(where: { $0.id == id }) else { return }
    entries[index].due = entries[index].due ?? LoopTime.now
  }

  /// What has ended, and the knocks that are due.
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
  /// How the accept has ended, if it has. Knocks if it is time to.
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

  /// One at a time: what waits already does as well.
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

/// What accepts that were cancelled have left of a listener.
struct SharedAccepts {
  /// A thread that still waits in accept4(2). Its connection is the next accept's.
  var stranded: AcceptingThread?
  /// Connections of ours that no accept may return. They are in the listener's queue, or another
  /// process has got them.
  var knocks: [Knock] = []

  /// Nothing waits in the listener's queue.
  mutating func noteEmptyQueue() { if !knocks.isEmpty { knocks = [] } }

  /// Whether a connection that was accepted is the other end of one of ours; then it is closed.
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
/// another process that accepts from it, too, may take the connection that the loop was told about,
/// and then the call blocks until the next one. (Docs/Decisions/0023-accepting-elsewhere.md)
///
/// The thread ends with the call. Its result stays here until it is taken; a connection that is not
/// closes with this object.
final class AcceptingThread: Sendable {
  private struct State: ~Copyable {
    var connection: OwnedFd?
    /// What the call said instead.
    var error: Int32?
  }

  private let state = TSanVisibleMutex(State())
  /// A copy: the listener may be closed, and its number be another file's, before the call is made.
  private let listener: OwnedFd
  private let inbox: Inbox

  /// Starts the thread, which wakes the loop of `inbox` when it has a result.
  ///
  /// - Throws: `Errno`: `tooManyOpenFiles`; `resourceTemporarilyUnavailable` if there is no thread
  ///   left.
  init(listener number: Int32, inbox: Inbox) throws(Errno) {
    let copy = cms_duplicate(number)
    guard copy >= 0 else { throw Errno(rawValue: -copy) }
    listener = OwnedFd(adopting: FileDescriptor(rawValue: copy))
    self.inbox = inbox
    // SAFETY: the new thread takes this reference over and releases it.
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

  /// What the call has said, once: the connection's number, which is the caller's from then on, or
  /// -errno. Nil if it still blocks.
  func takeResult() -> Int32? {
    state.withLock { state in
      if let connection = state.connection.take() { return connection.release().rawValue }
      return state.error.take()
    }
  }

  /// Whether a connection waits, which ends the call without our doing.
  var isAboutToReturn: Bool { listener.withUnsafeFileDescriptor { cms_is_readable($0.rawValue) } }

  /// Connects to the listener, so that the call comes back; nil if that is not possible.
  func knock() -> Knock? { listener.withUnsafeFileDescriptor { Knock(on: $0.rawValue) } }
}

/// A connection of ours to a listener, made to end an accept4(2) that blocks. It sends nothing.
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
    // A Unix socket has a name only if it is given one: the kernel chooses an abstract one.
    if family == cms_family_unix {
      var unnamed = UInt16(cms_family_unix)
      _ = unsafe cms_bind(number, &unnamed, 2)
    }
    let status = unsafe address.bytes.withUnsafeBytes {
      unsafe cms_connect(number, $0.baseAddress, UInt32($0.count))
    }
    switch Errno(rawValue: -status) {
    // TCP is under way; and where the queue is full there is something to accept.
    case _ where status >= 0, .nowInProgress, .resourceTemporarilyUnavailable: break
    default: return nil
    }
    name = try? AnySocketAddress.local(of: number)
  }

  /// Whether it is the other end of `connection`.
  func isPeer(of connection: Int32) -> Bool {
    guard let name, let peer = try? AnySocketAddress.peer(of: connection) else { return false }
    return peer == name
  }
}

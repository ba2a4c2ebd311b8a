// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets
internal import SystemPackage

/// The sends of a loop that run on threads of their own: at most one for each socket.
///
/// They are the sends of sockets that would otherwise send a part of a message and not say so
/// (`OpenSocket.cutsMessages`). To cancel one, the driver ends the socket's sending side, which
/// interrupts the call: it has begun its message, and nothing may follow half a message anyway.
struct BlockedSends: ~Copyable {
  private struct Entry {
    let operation: Operation
    let id: OperationID
    let thread: SendingThread
    var isCancelled = false
  }

  private var entries: [Entry] = []

  init() {}

  /// Records that a thread performs the send from now on.
  mutating func add(_ operation: Operation, _ thread: SendingThread) {
    entries.append(Entry(operation: operation, id: operation.id, thread: thread))
  }

  /// Asks for a send's early end. Does nothing if no thread performs it.
  mutating func cancel(_ id: OperationID) {
    guard let index = entries.firstIndex(where: { $0.id == id }) else { return }
    entries[index].isCancelled = true
    entries[index].thread.interrupt()
  }

  /// Removes and returns the sends that have ended, with the number of bytes or -errno.
  mutating func takeEnded() -> [(Operation, Int32)] {
    if entries.isEmpty { return [] }
    var ended: [(Operation, Int32)] = []
    entries.removeAll { entry in
      guard let result = entry.thread.result else { return false }
      let wasInterrupted = entry.isCancelled && result < 0
      ended.append((entry.operation, wasInterrupted ? -Errno.canceled.rawValue : result))
      return true
    }
    return ended
  }

  /// Interrupts all sends, and waits until no thread uses their memory.
  mutating func endAll() {
    for entry in entries { entry.thread.interrupt() }
    for entry in entries { while entry.thread.result == nil { cms_sleep(1) } }
    entries = []
  }
}

/// One sendmsg(2) that may block, on a thread of its own. The thread ends with the call.
///
/// `@unchecked Sendable`: the operation that holds the header and everything that it points to
/// stays in the driver's hands until the call has returned.
@safe
final class SendingThread: @unchecked Sendable {
  private let outcome = TSanVisibleMutex<Int32?>(nil)
  private let number: Int32
  private let flags: Int32
  private let header: UnsafePointer<cms_msghdr>
  private let inbox: Inbox

  /// Starts the thread, which wakes the loop of `inbox` when it has a result.
  ///
  /// - Throws: `Errno`: no thread can be started.
  init(_ operation: Operation, flags: Int32, inbox: Inbox) throws(Errno) {
    number = operation.descriptor
    self.flags = flags
    // SAFETY: see the type's comment.
    unsafe header = UnsafePointer(operation.header)
    self.inbox = inbox
    // SAFETY: the new thread takes over this reference and releases it.
    let context = unsafe Unmanaged.passRetained(self)
    let body: @convention(c) (UnsafeMutableRawPointer?) -> Void = { context in
      unsafe Unmanaged<SendingThread>.fromOpaque(context!).takeRetainedValue().send()
    }
    let status = unsafe cms_thread_start(body, context.toOpaque(), "sending")
    guard status == 0 else {
      unsafe context.release()
      throw Errno(rawValue: -status)
    }
  }

  private func send() {
    // Not again after a signal: the call may have sent a part.
    let result = unsafe cms_sendmsg_once(number, header, flags)
    outcome.withLock { $0 = Int32(clamping: result) }
    inbox.wakeDescriptor.signal()
  }

  /// What the call has returned; nil if it still blocks.
  var result: Int32? { outcome.withLock { $0 } }

  /// Makes the call return, by ending the socket's sending side.
  func interrupt() { _ = cms_shutdown(number, false, true) }
}

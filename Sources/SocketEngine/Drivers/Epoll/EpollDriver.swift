// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets
internal import DequeModule
internal import SystemPackage

/// The driver on epoll(7), for where io_uring is not allowed: each operation is tried at once with
/// a call that does not block, and again when its socket is ready.
///
/// A turn tries what was started, ends what was cancelled, and asks epoll. Sockets are registered
/// when an operation first has to wait, edge-triggered, and stay registered: a socket on which
/// nothing waits costs nothing but an ignored event. Because every operation is tried before it
/// waits, an event that came while nobody waited is not missed. How nothing blocks although no
/// status flag of a shared open file is changed: Docs/Decisions/0012, and for accepts 0023.
@safe
final class EpollDriver: Driver {
  let epoll: EpollSet
  /// Of the loop, which its wake-up descriptor wakes.
  let inbox: Inbox
  private var wakeNumber: Int32 { inbox.wakeDescriptor.number }
  /// No multishot receives: a message that nobody asks for stays in the kernel.
  let receiveBuffers: ReceiveBuffers? = nil
  let submitsByOneCall = false
  @safe @exclusivity(unchecked) private(set) var counters = DriverCounters()
  /// To be tried in the next turn, in order.
  @safe @exclusivity(unchecked) private var started: [Operation] = []
  @safe @exclusivity(unchecked) private var cancelled: [Cancellation] = []
  @safe @exclusivity(unchecked) var waiting = WaitingOperations()
  @safe @exclusivity(unchecked) var accepts = BlockedAccepts()
  @safe @exclusivity(unchecked) private var retries = DeadlineHeap<Retry>()
  /// Not yet reaped.
  @safe @exclusivity(unchecked) private var completions: Deque<cms_completion> = []
  private let events: UnsafeMutableBufferPointer<cms_event>

  /// The slot may be in another use by the time the cancellation's turn has come.
  private struct Cancellation {
    let operation: Operation
    let id: OperationID
  }

  /// - Throws: ``SocketError``: `outOfDescriptors`, `outOfMemory`.
  init(inbox: Inbox) throws(SocketError) {
    epoll = try EpollSet()
    self.inbox = inbox
    let status = epoll.add(inbox.wakeDescriptor.number, cms_event_readable)
    guard status == 0 else { throw SocketError(result: status, .startLoop) }
    // SAFETY: freed in deinit; used in `turn(_:)` only.
    unsafe events = .allocate(capacity: Int(cms_events_capacity))
    unsafe events.initialize(repeating: cms_event())
  }

  deinit { unsafe events.deallocate() }

  func start(_ operation: Operation) {
    counters.submissions += 1
    started.append(operation)
  }

  func cancel(_ operation: Operation) {
    counters.submissions += 1
    cancelled.append(Cancellation(operation: operation, id: operation.id))
  }

  func socketWasShutDown(_ number: Int32) {
    for direction in Direction.allCases {
      if let operation = waiting.find(number, direction) { tryAgain(operation) }
    }
  }

  func turn(_ wait: Wait) -> Errno? {
    tryStarted()
    endCancelled()
    tryWhatIsDue()
    completeAccepts()
    let failure = collectEvents(timeout(for: wait))
    completeAccepts()
    return failure
  }

  func reap(into completions: UnsafeMutableBufferPointer<cms_completion>) -> Int {
    var count = 0
    while count < completions.count, let completion = self.completions.popFirst() {
      unsafe completions[count] = completion
      count += 1
    }
    return count
  }

  func close() { epoll.close() }

  // MARK: A turn's parts

  private func tryStarted() {
    for operation in started { settle(operation, attempt(operation), mayWait: true) }
    started.removeAll(keepingCapacity: true)
  }

  private func endCancelled() {
    for cancellation in cancelled {
      accepts.cancel(cancellation.id)
      guard waiting.contains(cancellation.operation, cancellation.id) else { continue }
      let operation = cancellation.operation
      waiting.remove(operation)
      // A message or a connection that came before the cancellation wins. A send, in contrast, is
      // not begun any more.
      let last =
        Direction(operation.request) == .outgoing ? .notYet(.onReadiness) : attempt(operation)
      settle(operation, last, mayWait: false)
    }
    cancelled.removeAll(keepingCapacity: true)
  }

  private func tryWhatIsDue() {
    guard retries.next != nil else { return }
    let now = LoopTime.now
    while let retry = retries.popDue(at: now) {
      guard waiting.contains(retry.operation, retry.id) else { continue }
      let result = attempt(retry.operation)
      if case .notYet = result {
        tryLater(retry.operation, retry.strategy, delay: retry.strategy.delay(after: retry.delay))
      } else {
        waiting.remove(retry.operation)
        settle(retry.operation, result, mayWait: true)
      }
    }
    guard retries.hasDoubled else { return }
    retries.keep(retries.entries.filter { waiting.contains($0.value.operation, $0.value.id) })
  }

  private func completeAccepts() {
    for ended in accepts.takeEnded() {
      if let result = ended.result {
        complete(ended.operation, result)
      } else {
        settle(ended.operation, attempt(ended.operation), mayWait: true)
      }
    }
  }

  private func timeout(for wait: Wait) -> Int64 {
    guard completions.isEmpty, wait != .none else { return 0 }
    let next = [retries.next, accepts.next].compactMap(\.self).min()
    let retry = next.map { max(0, $0.nanosecondsFromNow) }
    return if case .nanoseconds(let time) = wait { min(time, retry ?? time) } else { retry ?? -1 }
  }

  private func collectEvents(_ timeout: Int64) -> Errno? {
    // The wake-up is for a loop that sleeps; without waiting operations there is nothing else to
    // find.
    if timeout == 0, waiting.count == 0 { return nil }
    counters.enters += 1
    let count = unsafe epoll.wait(into: events, timeout: timeout)
    guard count >= 0 else { return Errno(rawValue: Int32(-count)) }
    for index in 0..<count {
      let event = unsafe events[index]
      if event.fd != wakeNumber { take(event) }
    }
    return nil
  }

  private func take(_ event: cms_event) {
    for direction in [Direction.incoming, .errors, .urgent]
    where direction.isConcerned(by: event.events) {
      if let operation = waiting.find(event.fd, direction) { tryAgain(operation) }
    }
    guard Direction.outgoing.isConcerned(by: event.events) else { return }
    // A try that is in vain raises the event itself, by the room that it gives back: one that waits
    // for another socket's queue must not listen to it.
    if let operation = waiting.find(event.fd, .outgoing), !operation.sendsToAddress {
      tryAgain(operation)
    } else if waiting.interest(in: event.fd) & cms_event_writable != 0 {
      // Each message that the peer takes would be such an event: nobody sends, stop watching for
      // room.
      let rest = waiting.interest(in: event.fd) & ~cms_event_writable | Direction.incoming.interest
      waiting.register(event.fd, rest)
      _ = epoll.modify(event.fd, rest)
    }
  }

  // MARK: Attempts

  private func tryAgain(_ operation: Operation) {
    let result = attempt(operation)
    if case .notYet = result { return }
    waiting.remove(operation)
    settle(operation, result, mayWait: true)
  }

  /// Reports the operation's end, or lets it wait. One that may not wait is one that was cancelled.
  private func settle(_ operation: Operation, _ result: Attempt, mayWait: Bool) {
    switch result {
    case .done(let result): complete(operation, result)
    // What cannot wait was cancelled.
    case .elsewhere: if !mayWait { accepts.cancel(operation.id) }
    case .notYet where !mayWait: complete(operation, -Errno.canceled.rawValue)
    case .notYet(let strategy):
      let status = watch(operation)
      guard status == 0 else { return complete(operation, status) }
      waiting.add(operation)
      if let delay = strategy.firstDelay { tryLater(operation, strategy, delay: delay) }
    }
  }

  private func tryLater(_ operation: Operation, _ strategy: RetryStrategy, delay: Duration) {
    let retry = Retry(operation: operation, id: operation.id, strategy: strategy, delay: delay)
    retries.add(retry, deadline: LoopTime(after: delay))
  }

  private func complete(_ operation: Operation, _ result: Int32) {
    completions.append(cms_completion(user_data: operation.id.userData, result: result, flags: 0))
  }

  /// Sees to it that the next change in the operation's direction is an event. 0 or -errno.
  private func watch(_ operation: Operation) -> Int32 {
    let socket = operation.socket!
    let number = operation.descriptor
    let needed = Direction(operation.request).interest
    guard socket.registration != nil else {
      let status = epoll.add(number, needed)
      guard status == 0 else { return status }
      waiting.register(number, needed)
      socket.registration = EpollRegistration(of: number, in: epoll)
      return 0
    }
    let interest = waiting.interest(in: number)
    if interest & needed == needed { return 0 }
    waiting.register(number, interest | needed)
    return epoll.modify(number, interest | needed)
  }
}

// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets
internal import DequeModule
internal import SystemPackage

/// The driver on epoll(7), for systems that do not allow io_uring. Each operation is tried with a
/// non-blocking call, and tried again when its socket is ready.
///
/// A turn tries the started operations, ends the cancelled ones, and polls epoll. A socket is
/// registered, edge-triggered, when an operation first has to wait, and stays registered; if
/// nothing waits on it, an event is ignored. Every operation is tried before it waits, so it does
/// not matter that earlier events were ignored. Docs/Decisions/0012, and 0023 for accepts, explain
/// how nothing blocks although no status flag of a shared open file is changed.
@safe
final class EpollDriver: Driver {
  let epoll: EpollSet
  /// The inbox of the loop, whose descriptor wakes the loop.
  let inbox: Inbox
  private var wakeNumber: Int32 { inbox.wakeDescriptor.number }
  /// Nil, because epoll has no multishot receives: a message stays in the kernel until a task asks
  /// for it.
  let receiveBuffers: ReceiveBuffers? = nil
  let submitsByOneCall = false
  @safe @exclusivity(unchecked) private(set) var counters = DriverCounters()
  /// The operations to try in the next turn, in order.
  @safe @exclusivity(unchecked) private var started: [Operation] = []
  @safe @exclusivity(unchecked) private var cancelled: [Cancellation] = []
  @safe @exclusivity(unchecked) var waiting = WaitingOperations()
  @safe @exclusivity(unchecked) var accepts = BlockedAccepts()
  @safe @exclusivity(unchecked) var sends = BlockedSends()
  @safe @exclusivity(unchecked) private var retries = DeadlineHeap<Retry>()
  /// Completions that have not been reaped yet.
  @safe @exclusivity(unchecked) private var completions: Deque<cms_completion> = []
  private let events: UnsafeMutableBufferPointer<cms_event>

  /// A cancellation to perform in the next turn. The ID tells whether the slot is still used for
  /// the cancelled operation by then.
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
    // SAFETY: freed in deinit; used only in `turn(_:)`.
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
    completeElsewhere()
    let failure = collectEvents(timeout(for: wait))
    completeElsewhere()
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

  /// Waits for the threads that read the memory of operations.
  func closeAfterFailure() {
    sends.endAll()
    close()
  }

  // MARK: Parts of a turn

  private func tryStarted() {
    for operation in started { settle(operation, attempt(operation), mayWait: true) }
    started.removeAll(keepingCapacity: true)
  }

  private func endCancelled() {
    for cancellation in cancelled {
      accepts.cancel(cancellation.id)
      sends.cancel(cancellation.id)
      guard waiting.contains(cancellation.operation, cancellation.id) else { continue }
      let operation = cancellation.operation
      waiting.remove(operation)
      // A message or a connection that came before the cancellation wins. A send, in contrast, is
      // not tried again.
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

  /// Completes the operations that threads have performed.
  private func completeElsewhere() {
    for (operation, result) in sends.takeEnded() { complete(operation, result) }
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
    // A wake-up is only for a sleeping loop, and without waiting operations there are no other
    // events.
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
    // A failed send to an address raises the event itself, when it releases the buffer space that
    // it had reserved. An operation that waits for another socket's queue must therefore ignore it.
    if let operation = waiting.find(event.fd, .outgoing), !operation.sendsToAddress {
      tryAgain(operation)
    } else if waiting.interest(in: event.fd) & cms_event_writable != 0 {
      // Nothing is being sent, and each message that the peer takes would raise such an event, so
      // stop watching for room.
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

  /// Completes the operation, or makes it wait. An operation with `mayWait` false was cancelled.
  private func settle(_ operation: Operation, _ result: Attempt, mayWait: Bool) {
    switch result {
    case .done(let result): complete(operation, result)
    // The operation was cancelled while it was tried; the accepting thread must be cancelled too.
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

  /// Ensures that the next change in the operation's direction raises an event. Returns 0 or
  /// -errno.
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

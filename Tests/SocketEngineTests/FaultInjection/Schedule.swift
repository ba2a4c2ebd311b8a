// SPDX-License-Identifier: Apache-2.0
import Ancillary
import CMessageSockets
import SystemPackage
import SeededRandom

@testable import SocketEngine

/// A random sequence of events on one loop: tasks send, receive, accept and connect in every way
/// that channels offer, and are cancelled, expire, or find their socket closed or their loop shut
/// down, while the kernel acts at random.
///
/// `@unchecked Sendable`: all of it runs on the loop's thread.
final class Schedule: @unchecked Sendable {
  let loop: IOLoop
  let driver: SimulatedDriver
  let ledger: Ledger
  var random: SeededGenerator
  var endpoints: [Endpoint] = []
  private var tasks: [Task<Void, Never>] = []
  private var nextMessage: UInt64 = 0
  private(set) var isShuttingDown = false

  init(loop: IOLoop, driver: SimulatedDriver) {
    self.loop = loop
    self.driver = driver
    ledger = driver.ledger
    random = SeededGenerator(seed: driver.seed &* 2)
  }

  func run() async {
    for _ in 0..<random.number(1...3) { openPair() }
    for _ in 0..<random.number(10...60) {
      act()
      for _ in 0..<random.number(0...3) { await Task.yield() }
    }
    await finish()
  }

  private func openPair() {
    let kind = [SocketKind.stream, .stream, .seqpacket, .seqpacket, .datagram].randomElement(
      using: &random)!
    let first = driver.queues.count
    let numbers = driver.makePair(kind)
    for (number, incoming) in [(numbers.0, first), (numbers.1, first + 1)] {
      let channel = SocketChannel(
        adopting: OwnedFd(adopting: FileDescriptor(rawValue: number)), kind: kind, loop: loop)
      endpoints.append(
        Endpoint(channel, number: number, kind: kind, incoming: incoming, outgoing: incoming ^ 1))
    }
  }

  // MARK: Events

  private func act() {
    let endpoint = endpoints.randomElement(using: &random)!
    switch random.number(0...31) {
    case 0...10: start { await self.sendSome(from: endpoint) }
    case 11...20: start { await self.receiveSome(at: endpoint) }
    case 21...23, 25, 26: cancelOne()
    case 24: stopWhatHasEnded()
    case 27: start { await self.accept(at: endpoint) }
    case 28: start { await self.connect(endpoint) }
    case 29: endUse(of: endpoint)
    case 30:
      if random.oneIn(12) { start { await self.shutdownLoop() } }
      if random.oneIn(12) { failLoop() }
    default: driver.sockets[endpoint.number]?.connections += 1
    }
  }

  private func start(_ body: @escaping @Sendable () async -> Void) {
    tasks.append(Task(executorPreference: loop.taskExecutor) { await body() })
  }

  private func cancelOne() {
    guard let task = tasks.randomElement(using: &random) else { return }
    ledger.count("cancellations")
    task.cancel()
    if random.oneIn(4) { task.cancel() }
  }

  /// A cancellation or a deadline that comes too late, as from another thread: the operation's slot
  /// may have been reused.
  private func stopWhatHasEnded() {
    guard let id = driver.ended.suffix(20).randomElement(using: &random) else { return }
    // After a short send, or a receive that found nothing, the slot is still in this use, so a stop
    // would not be too late.
    if let operation = loop.core.operations.find(id), operation.life.state != .done { return }
    ledger.count("late stops")
    loop.core.stopFromAnywhere(id, random.oneIn(2) ? .deadline : .taskCancelled)
  }

  private func endUse(of endpoint: Endpoint) {
    switch random.number(0...3) {
    case 0: start { await self.close(endpoint) }
    case 1:
      // The last task that uses the channel, or this statement, releases it.
      ledger.directions[endpoint.incoming].mayHaveDropped = true
      endpoint.channel = nil
    case 2: shutdown(endpoint, read: false, write: true)
    default: shutdown(endpoint, read: true, write: false)
    }
  }

  private func shutdown(_ endpoint: Endpoint, read: Bool, write: Bool) {
    guard let channel = endpoint.channel, !endpoint.isClosing else { return }
    driver.noticeClosedSockets()
    driver.queues[read ? endpoint.incoming : endpoint.outgoing].isClosed = true
    if read { driver.sockets[endpoint.number]!.isShutDownForReceiving = true }
    do {
      try channel.shutdown(read: read, write: write)
    } catch {
      ledger.violate("shutdown: \(error)")
    }
  }

  private func close(_ endpoint: Endpoint) async {
    guard let channel = endpoint.channel else { return }
    endpoint.isClosing = true
    ledger.directions[endpoint.incoming].mayHaveDropped = true
    await channel.close()
    if SimulatedFiles.inode(endpoint.number) == driver.sockets[endpoint.number]?.inode {
      ledger.violate("a socket was said to be closed, and is open")
    }
  }

  private func shutdownLoop() async {
    isShuttingDown = true
    ledger.count("shutdowns")
    for index in ledger.directions.indices { ledger.directions[index].mayHaveDropped = true }
    await loop.shutdown()
  }

  private func failLoop() {
    driver.refuses = true
    ledger.count("failed loops")
    for index in ledger.directions.indices { ledger.directions[index].mayHaveDropped = true }
  }

  // MARK: The end

  /// Stops everything, receives the remaining messages, and closes in one of several ways.
  private func finish() async {
    driver.isCalm = random.oneIn(2)
    for task in tasks.shuffled(using: &random) { task.cancel() }
    for task in tasks { await task.value }
    tasks = []
    driver.isCalm = true
    for endpoint in endpoints { await drain(endpoint) }
    for endpoint in endpoints.shuffled(using: &random) {
      switch random.number(0...2) {
      case 0: endpoint.channel = nil
      default: start { await self.close(endpoint) }
      }
    }
    if random.oneIn(2) { start { await self.shutdownLoop() } }
    for task in tasks { await task.value }
    tasks = []
    endpoints = []
  }

  /// Receives the messages that were sent and are still in the socket.
  private func drain(_ endpoint: Endpoint) async {
    guard endpoint.channel != nil, !endpoint.isClosing, !isShuttingDown, !driver.refuses else {
      return
    }
    // Errors of multishot receives are in the queue, too.
    var failures = 0
    while isUnread(endpoint.incoming), failures < 20 {
      let way = Way.allCases.randomElement(using: &random)!
      if !(await receiveOne(at: endpoint, in: way)), way != .errors { failures += 1 }
    }
    // If the shutdown stops a receive just as an empty datagram arrives, the datagram is
    // indistinguishable from the end.
    let mayHideEmptyMessages =
      endpoint.kind == .datagram && driver.sockets[endpoint.number]?.isShutDownForReceiving == true
    if failures >= 20, !mayHideEmptyMessages { ledger.violate("what was sent cannot be received") }
  }

  private func isUnread(_ index: Int) -> Bool {
    let direction = ledger.directions[index]
    if !driver.queues[index].messages.isEmpty { return true }
    return direction.isStream
      ? direction.delivered.reduce(0) { $0 + $1.bytes.count }
        > direction.received.reduce(0) { $0 + $1.bytes.count }
      : direction.delivered.count > direction.received.count
  }

  /// Returns the next message's number, which is also that of its first descriptor.
  func nextMessageNumber() -> UInt64 {
    nextMessage += 1
    return nextMessage
  }

  /// Whether the schedule or the kernel has caused an error.
  func isJustified(_ error: any Error, at endpoint: Endpoint, mayExpire: Bool) -> Bool {
    guard let error = error as? SocketError else {
      return error is CancellationError && Task.isCancelled
    }
    return switch error.code {
    case .closed: endpoint.isClosing
    case .loopShutDown: isShuttingDown
    case .loopFailed: driver.refuses
    case .deadlineExceeded: mayExpire
    // Every operation of these tasks waits.
    case .wouldBlock: false
    case .partialSend: Task.isCancelled || endpoint.isClosing || isShuttingDown || driver.refuses
    default: error.errno != nil
    }
  }
}

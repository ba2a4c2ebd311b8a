// SPDX-License-Identifier: Apache-2.0
import CMessageSockets
import Glibc
import SeededRandom
import SystemPackage

@testable import SocketEngine

/// A driver on a simulated kernel, which does, at random, everything that a kernel may do, and
/// checks the engine's promises.
///
/// The following is random: when a request is attempted, the order in which requests complete, how
/// much of a stream send goes out, whether a request fails and with which errno, when and how a
/// multishot receive ends, whether an operation wins over its cancellation, and when a completion
/// becomes visible (an overflowed completion queue). The seed determines all of it. If a schedule
/// can no longer make progress, something was lost: the process ends, and reports the seed.
///
/// `@unchecked Sendable`: all of it runs on the loop's thread.
final class SimulatedDriver: Driver, @unchecked Sendable {
  let seed: UInt64
  let ledger: Ledger
  let simulatedBuffers: SimulatedBuffers?
  var receiveBuffers: ReceiveBuffers? { simulatedBuffers }
  var counters = DriverCounters()
  var random: SeededGenerator
  /// Whether requests fail only if they have to.
  var isCalm = false
  /// Whether the kernel refuses further submissions and waits of the loop.
  var refuses = false
  /// Whether a submitted cancellation is performed before anything else in that enter, as with
  /// deferred task work (Linux 6.1).
  let cancelsFirst: Bool

  private var submitted: [Operation] = []
  private var cancelled: [OperationID] = []
  var inFlight: [SubmittedOperation] = []
  private var completions: [cms_completion] = []
  private var visible = 0
  private var turns = 0

  var queues: [SimulatedQueue] = []
  var sockets: [Int32: SimulatedSocket] = [:]
  /// Operations whose final completion the loop has seen.
  private(set) var ended: [OperationID] = []
  /// The message that each send carries.
  var sendings: [OperationID: UInt64] = [:]

  init(seed: UInt64, ledger: Ledger, buffers: SimulatedBuffers?) {
    self.seed = seed
    self.ledger = ledger
    simulatedBuffers = buffers
    random = SeededGenerator(seed: seed &* 2 &+ 1)
    cancelsFirst = random.oneIn(2)
  }

  // MARK: The protocol

  func start(_ operation: Operation) {
    counters.submissions += 1
    submitted.append(operation)
  }

  func cancel(_ operation: Operation) {
    counters.submissions += 1
    cancelled.append(operation.id)
  }

  func turn(_ wait: Wait) -> Errno? {
    counters.enters += 1
    turns += 1
    if turns > 100_000 { stop("the loop turns for ever") }
    if refuses {
      visible = completions.count
      return .notPermitted
    }
    noticeClosedSockets()
    takeSubmissions()
    var rounds = 0
    repeat {
      cancelSome()
      attemptSome(withFaults: !isCalm && rounds < 50)
      rounds += 1
      if rounds > 500 { stop("everything waits for ever: something was lost") }
    } while wait == .indefinitely && completions.isEmpty
    // At least one, if the loop was promised to wait for it.
    visible =
      completions.isEmpty
      ? 0
      : random.oneIn(4)
        ? random.number((wait == .none ? 0 : 1)...completions.count) : completions.count
    return nil
  }

  func reap(into target: UnsafeMutableBufferPointer<cms_completion>) -> Int {
    let count = min(visible, target.count, random.number(1...8))
    for index in 0..<count {
      target[index] = completions[index]
      if completions[index].flags & cms_completion_more == 0 {
        ended.append(OperationID(userData: completions[index].user_data))
      }
    }
    completions.removeFirst(count)
    visible -= count
    return count
  }

  func close() {
    if refuses {
      // The ring ends, and so do its requests.
      inFlight = []
      submitted = []
    }
    if !inFlight.isEmpty || !submitted.isEmpty {
      ledger.violate("the driver was closed with \(inFlight.count) operations under way")
    }
    if !completions.isEmpty {
      ledger.violate("the driver was closed with \(completions.count) completions unseen")
    }
    if let buffers = simulatedBuffers {
      if buffers.missing > 0 { ledger.violate("\(buffers.missing) buffers were not given back") }
      for violation in buffers.violations { ledger.violate(violation) }
      buffers.close()
    }
    for index in queues.indices { drop(index) }
  }

  func stop(_ reason: String) -> Never {
    fatalError(
      "Seed \(seed): \(reason). In flight: \(inFlight.map { "\($0.request) on \($0.number)" }). \(ledger.violations)"
    )
  }

  // MARK: Requests

  private func takeSubmissions() {
    for operation in submitted {
      let new = SubmittedOperation(operation)
      guard let socket = sockets[new.number], SimulatedFiles.inode(new.number) == socket.inode
      else {
        stop("\(new.request) names a descriptor that is no longer its socket")
      }
      for other in inFlight {
        if other.id == new.id { ledger.violate("\(new.id) was submitted twice") }
        if other.collides(with: new) {
          ledger.violate("\(new.request) uses memory of \(other.request)")
        }
        if other.number == new.number, other.direction == new.direction {
          ledger.violate("two requests of one direction are in the kernel")
        }
      }
      inFlight.append(new)
    }
    submitted = []
  }

  private func attemptSome(withFaults: Bool) {
    for operation in inFlight.shuffled(using: &random) where random.oneIn(2) {
      if withFaults, random.oneIn(16) {
        fail(operation)
      } else {
        attempt(operation)
      }
    }
  }

  /// Looks for the operations that the kernel was asked to cancel. The cancellations have no
  /// results of their own: only the operations' completions tell what happened, in any order.
  private func cancelSome() {
    let asked = cancelled.shuffled(using: &random)
    cancelled = []
    for id in asked {
      guard let operation = inFlight.first(where: { $0.id == id }) else { continue }
      // A receive that waits for readiness is always found. Others may be moving between two of the
      // kernel's queues.
      if !operation.isMultishot, random.oneIn(3) {
        cancelled.append(id)
        continue
      }
      if !(operation.isMultishot && cancelsFirst), random.oneIn(2) { attempt(operation) }
      if isWoken(operation) {
        operation.fill([], [], flags: 0)
        complete(operation, 0, written: true)
      }
      // A kernel thread is interrupted; everything else is cancelled.
      let errno = operation.isMultishot || random.oneIn(2) ? ECANCELED : EINTR
      if inFlight.contains(where: { $0 === operation }) { complete(operation, -errno) }
    }
  }

  /// Whether a kernel thread that waits on a datagram socket returns with nothing, as may happen if
  /// the socket was shut down for receiving.
  private func isWoken(_ operation: SubmittedOperation) -> Bool {
    guard case .receive = operation.request, let socket = sockets[operation.number],
      socket.kind == .datagram
    else { return false }
    let isUnderWay = inFlight.contains { $0 === operation }
    return isUnderWay && socket.isShutDownForReceiving && queues[socket.incoming].messages.isEmpty
      && random.oneIn(3)
  }

  /// Completes a request. Unless `more` follow, the kernel no longer touches the operation's
  /// memory.
  func complete(
    _ operation: SubmittedOperation, _ result: Int32, flags: UInt32 = 0, written: Bool = false
  ) {
    if !written, !operation.isStable {
      ledger.violate("memory of \(operation.request) changed before its completion")
    }
    let isFinal = flags & cms_completion_more == 0
    if isFinal { inFlight.removeAll { $0 === operation } }
    completions.append(
      cms_completion(user_data: operation.id.userData, result: result, flags: flags))
  }

  // MARK: Sockets

  /// Makes two connected sockets, and returns their numbers.
  func makePair(_ kind: SocketKind) -> (Int32, Int32) {
    noticeClosedSockets()
    var numbers: (Int32, Int32) = (-1, -1)
    precondition(cms_unix_socketpair(cms_socket_stream, &numbers.0, &numbers.1) == 0)
    let first = queues.count
    for _ in 0..<2 {
      queues.append(SimulatedQueue(isStream: kind == .stream, capacity: random.number(1...6) * 40))
      ledger.directions.append(Ledger.Direction(kind: kind))
    }
    for (number, incoming) in [(numbers.0, first), (numbers.1, first + 1)] {
      sockets[number] = SimulatedSocket(
        number: number, inode: SimulatedFiles.inode(number), kind: kind, incoming: incoming,
        outgoing: incoming ^ 1)
    }
    return numbers
  }

  /// Notices descriptors that are closed or belong to another file: the engine has closed them, so
  /// their sockets' queues end according to unix(7).
  func noticeClosedSockets() {
    for socket in sockets.values.sorted(by: { $0.number < $1.number })
    where SimulatedFiles.inode(socket.number) != socket.inode {
      if inFlight.contains(where: { $0.number == socket.number }) {
        ledger.violate("a socket was closed with an operation in the kernel")
      }
      sockets[socket.number] = nil
      queues[socket.outgoing].isClosed = true
      queues[socket.incoming].isClosed = true
      drop(socket.incoming)
    }
  }

  private func drop(_ index: Int) {
    for file in queues[index].drop() { _ = cms_close(file.number) }
  }
}

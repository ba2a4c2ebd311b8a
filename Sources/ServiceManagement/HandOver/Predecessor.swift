// SPDX-License-Identifier: Apache-2.0
internal import DequeModule
internal import MessageSockets
internal import SocketEngine

/// The predecessor's side of a hand-over: serves, listens for successors, and stops when one of
/// them serves.
struct Predecessor: Sendable {
  let handOver: HandOver
  /// This process's own predecessor, if it is alive.
  let previous: Successor?
  let offering: @Sendable () async throws -> HandOverItems
  let takingBack: @Sendable (consuming HandOverItems) async -> Void
  /// The calls of `takingBack`.
  private let takings = Takings()

  init(
    handOver: HandOver, previous: Successor?,
    offering: @escaping @Sendable () async throws -> HandOverItems,
    takingBack: @escaping @Sendable (consuming HandOverItems) async -> Void
  ) {
    self.handOver = handOver
    self.previous = previous
    self.offering = offering
    self.takingBack = takingBack
  }

  private var control: UnixListener<UnixSeqpacket> { handOver.control }
  private var limits: HandOverLimits { handOver.limits }
  private func tell(_ event: HandOverEvent) { handOver.observer(event) }

  /// Runs two tasks: one serves, and one talks to the processes before and after this one. The
  /// first decides when everything is over; the second cancels it when a successor serves.
  func run(_ body: @escaping @Sendable (@escaping @Sendable () -> Void) async throws -> Void)
    async throws -> HandOver.Ending
  {
    let executor = control.loop.taskExecutor
    // No element is ever sent: the end of the stream means that connections are accepted.
    let (announced, announcement) = AsyncStream.makeStream(of: Never.self)
    let serving = Task(executorPreference: executor) {
      try await control.loop.run { try await body { announcement.finish() } }
    }
    let replacement = Replacement()
    let neighbours = Task(executorPreference: executor) {
      for await _ in announced {}
      // Only now may a successor connect: a process that does not serve yet has nothing to hand
      // over.
      guard !Task.isCancelled, await previous?.announce() ?? true else { return false }
      handOver.decideFiles(.thisProcess)
      await withDiscardingTaskGroup { group in
        group.addTask { await previous?.follow() }
        await waitForSuccessor(serving, replacement)
      }
      return true
    }

    let outcome = await withTaskCancellationHandler {
      await serving.result
    } onCancel: {
      serving.cancel()
      neighbours.cancel()
    }
    neighbours.cancel()
    if await !neighbours.value {
      // This process has served nothing; the predecessor serves.
      handOver.decideFiles(previous == nil ? .thisProcess : .anotherProcess)
      await previous?.giveUp(.other, "the successor has ended before it served")
    }
    await takings.end()
    let isReplaced = await replacement.end { socket in
      // A predecessor whose serving failed has not drained; its end tells the successor.
      if case .failure(let error) = outcome, !(error is CancellationError) { return }
      tell(.drained)
      // In a separate task, because this one may have been cancelled.
      let telling = Task(executorPreference: executor) {
        try await HandOverLink(socket: socket).send(.drained, within: limits.step)
      }
      if case .failure = await telling.result { tell(.successorEnded) }
    }
    await control.close()
    do {
      try outcome.get()
    } catch is CancellationError where serving.isCancelled {}
    return isReplaced ? .replaced : .ended
  }

  /// Returns when a successor serves, or when this task is cancelled.
  private func waitForSuccessor(_ serving: Task<Void, any Error>, _ replacement: Replacement) async
  {
    do {
      // Served concurrently, so that processes that must be refused do not delay others.
      try await control.serve(
        ServeLimits(maximumConnections: 8, gracePeriod: .zero), onError: { tell(.failed($0)) }
      ) { connection in
        guard try await handOver(to: HandOverLink(socket: connection)) else { return }
        // Detach the connection from this server first: when nothing is left to serve, `run`
        // cancels this task as soon as `serving` is cancelled.
        let kept = try? UnixSeqpacket(adopting: try await connection.release(), on: control.loop)
        replacement.begin(kept, telling: handOver.observer)
        serving.cancel()
        // New connections now wait for the successor, which shares the listener.
        await control.close()
      }
    } catch {
      tell(.failed(error))
    }
  }

  /// Hands over to a successor. Returns true if it serves; false if it was refused or has failed,
  /// and nothing has changed.
  private func handOver(to link: HandOverLink) async throws -> Bool {
    do {
      let hello = try await link.next(within: limits.step, for: "hello")
      guard handOver.beginOne() else {
        throw ServiceError(.handOverUnderWay, "another successor is being served")
      }
      do {
        try check(hello.message)
        tell(.successorConnected)
        let process = try await OtherProcess(peerOf: link.socket)
        return await transfer(try await offering(), to: link, process)
      } catch {
        handOver.endOne()
        throw error
      }
    } catch {
      await giveUp(link, error)
      return false
    }
  }

  private func giveUp(_ link: HandOverLink, _ error: any Error) async {
    await link.refuse(HandOverRefusal(error), "\(error)")
    tell(.failed(error))
  }

  /// Tells the successor to serve with what it has, because this process ends. The message waits
  /// until there is room for it: without it, the successor would serve nothing.
  ///
  /// - Returns: Whether the successor may have received it. False if its process had already ended,
  ///   or if it reported that it serves nothing.
  private func leave(to link: HandOverLink, _ process: OtherProcess, _ error: any Error) async
    -> Bool
  {
    let failure = await link.refuse(HandOverRefusal(error), "\(error)", within: limits.step)
    tell(.failed(error))
    let limit: Duration
    switch failure as? ServiceError {
    case let failure? where failure.isRefusal: return false
    case let failure? where failure.code == .peerEnded: limit = limits.step
    case nil where failure == nil:
      // The message may be in the queue of a dead process.
      guard case .known = process else { return true }
      limit = .zero
    default: return true
    }
    // In a separate task, because this one was cancelled and would not wait.
    let hasEnded = Task(executorPreference: control.loop.taskExecutor) {
      try await process.ends(within: limit, on: control.loop)
    }
    let isGone = (try? await hasEnded.value) == true
    return !isGone
  }

  private func check(_ hello: HandOverMessage) throws(ServiceError) {
    guard case .hello(let protocolVersion, let stateVersion) = hello else {
      throw HandOverMessage.malformed("\(hello.name) instead of hello")
    }
    guard protocolVersion == HandOverMessage.protocolVersion else {
      throw ServiceError(
        .wrongVersion,
        "the predecessor speaks version \(HandOverMessage.protocolVersion) of the protocol, and not \(protocolVersion)"
      )
    }
    guard stateVersion == handOver.stateVersion else {
      throw ServiceError(
        .wrongVersion,
        "the predecessor has state of version \(handOver.stateVersion), and not \(stateVersion)")
    }
  }

  /// Sends everything to the successor. Returns true if it serves or may be serving. False if it
  /// has failed; it was notified, the next successor may come, and the remaining items come back.
  private func transfer(
    _ items: consuming HandOverItems, to link: HandOverLink, _ process: OtherProcess
  ) async -> Bool {
    let files = [control.channel.fileOwnership] + items.descriptors.entries.map(\.file)
    // The listeners may close during the transfer, for example if this process is cancelled.
    for file in files { file?.decide(.undecided) }
    var sent = 0
    do {
      try await prepare(items, link, &sent)
      try await awaitServing(link, process)
      for file in files { file?.decide(.anotherProcess) }
      return true
    } catch {
      // A process that ends leaves what it has sent to its successor, if that can still be
      // notified. After any other failure the successor serves nothing.
      guard error is CancellationError else {
        for file in files { file?.decide(.thisProcess) }
        handOver.endOne()
        await giveUp(link, error)
        takings.begin(items, on: control.loop, takingBack)
        return false
      }
      let gone = await leave(to: link, process, error) ? sent : 0
      for file in files[..<gone] { file?.decide(.anotherProcess) }
      for file in files[gone...] { file?.decide(.thisProcess) }
      handOver.endOne()
      // Only after the successor was notified: until then it is not certain that another process
      // has the descriptors.
      items.descriptors.closeFirst(max(0, gone - 1))
      takings.begin(items, on: control.loop, takingBack)
      return false
    }
  }

  /// Sends everything up to and including "go".
  ///
  /// - Parameter sent: How many descriptors the successor may have, including the control listener.
  private func prepare(
    _ items: borrowing HandOverItems, _ link: HandOverLink, _ sent: inout Int
  ) async throws {
    let count = UInt32(clamping: items.descriptors.count + 1)
    try await link.send(
      .offer(
        protocolVersion: HandOverMessage.protocolVersion, descriptors: count,
        stateLength: UInt64(items.state.count)),
      within: limits.step)
    tell(.offerSent)
    try await sendControl(to: link, &sent)
    try await sendDescriptors(items.descriptors, to: link, &sent)
    try await sendState(items.state, to: link)
    guard
      case .ready = try await link.next(
        within: limits.initialization, for: "readiness of the successor"
      ).message
    else {
      throw HandOverMessage.malformed("another one than ready")
    }
    tell(.successorReady)
    try await link.send(.go, within: limits.step)
    tell(.goSent)
  }

  /// Waits until the successor serves. After "go" it may serve, so it owns what it has, whatever
  /// happens here.
  ///
  /// - Throws: Only if the successor serves nothing: it reports that, or its process has ended.
  private func awaitServing(_ link: HandOverLink, _ process: OtherProcess) async throws {
    do {
      guard
        case .serving = try await link.next(
          within: limits.initialization, for: "word from the successor that it serves"
        ).message
      else {
        throw HandOverMessage.malformed("another one than serving")
      }
      tell(.successorServing)
    } catch let error as ServiceError where error.isRefusal {
      throw error
    } catch {
      if (error as? ServiceError)?.code == .peerEnded,
        (try? await process.ends(within: limits.step, on: control.loop)) == true
      {
        throw error
      }
      tell(.successorSilent(error))
    }
  }

  private func sendControl(to link: HandOverLink, _ sent: inout Int) async throws {
    var descriptors = NamedDescriptors()
    descriptors.append(
      try await control.duplicate(),
      NamedDescriptors.Entry(name: "", file: control.channel.fileOwnership))
    try await sendBatch(descriptors, 0..<1, to: link, &sent)
  }

  private func sendDescriptors(
    _ descriptors: borrowing NamedDescriptors, to link: HandOverLink, _ sent: inout Int
  ) async throws {
    var start = 0
    while start < descriptors.count {
      var end = start
      var length = 16
      // As many entries as fit into a message.
      while end < descriptors.count, end - start < ControlMessages.maximumDescriptors {
        length += HandOverEntry(descriptors.entries[end]).encodedLength
        if length > HandOverMessage.maximumLength { break }
        end += 1
      }
      try await sendBatch(descriptors, start..<end, to: link, &sent)
      start = end
    }
  }

  /// Sends one batch. Each batch is acknowledged before the next is sent, which bounds the number
  /// of descriptors in flight (`ETOOMANYREFS`).
  private func sendBatch(
    _ descriptors: borrowing NamedDescriptors, _ range: Range<Int>, to link: HandOverLink,
    _ sent: inout Int
  ) async throws {
    let message = HandOverMessage.batch(
      first: UInt32(sent), descriptors.entries[range].map { HandOverEntry($0) })
    try await link.send(
      message, descriptors: descriptors.span.extracting(range), within: limits.step)
    sent += range.count
    let count = sent
    tell(.batchSent(count))
    guard
      case .received(UInt32(count)) = try await link.next(
        within: limits.step, for: "acknowledgement"
      ).message
    else {
      throw HandOverMessage.malformed("another one than an acknowledgement of \(count) descriptors")
    }
    tell(.batchAcknowledged(count))
  }

  private func sendState(_ state: [UInt8], to link: HandOverLink) async throws {
    var rest = state[...]
    while !rest.isEmpty {
      let piece = rest.prefix(HandOverMessage.maximumLength - 1)
      try await link.send(.state(Array(piece)), within: limits.step)
      rest = rest.dropFirst(piece.count)
    }
    tell(.stateSent)
  }
}

extension HandOverEntry {
  init(_ entry: NamedDescriptors.Entry) {
    self.init(name: entry.name, file: entry.file.map { [$0.identity.device, $0.identity.inode] })
  }
}

/// Tasks that take back items whose hand-over failed. They are not child tasks, because they must
/// also run in a cancelled process and must not delay a successor.
private final class Takings: Sendable {
  private struct State {
    var next = 0
    var tasks: [Int: Task<Void, Never>] = [:]
  }

  private let state = TSanVisibleMutex(State())

  func begin(
    _ items: consuming HandOverItems, on loop: IOLoop,
    _ body: @escaping @Sendable (consuming HandOverItems) async -> Void
  ) {
    let held = HeldItems(items)
    state.withLock { state in
      let number = state.next
      state.next += 1
      state.tasks[number] = Task(executorPreference: loop.taskExecutor) {
        await body(held.take())
        self.state.withLock { $0.tasks[number] = nil }
      }
    }
  }

  /// Returns when all tasks have ended.
  func end() async {
    while let task = state.withLock({ $0.tasks.first?.value }) { await task.value }
  }
}

/// The successor that serves. While this process has connections, the successor's end is reported.
private final class Replacement: Sendable {
  private struct Successor {
    /// Nil if the socket could not be kept: then nothing can be sent to the successor or received
    /// from it.
    var socket: UnixSeqpacket?
    var watch: Task<Void, Never>?
  }

  private let successor = TSanVisibleMutex<Successor?>(nil)

  func begin(
    _ socket: UnixSeqpacket?, telling observer: @escaping @Sendable (HandOverEvent) -> Void
  ) {
    let watch = socket.map { socket in
      Task(executorPreference: socket.loop.taskExecutor) {
        do {
          // The successor sends nothing more.
          while try await socket.receiveMessage() != nil {}
        } catch is CancellationError {
          return
        } catch {}
        observer(.successorEnded)
      }
    }
    successor.withLock { $0 = Successor(socket: socket, watch: watch) }
  }

  /// Whether there is a successor. `last` tells it that this process ends.
  func end(_ last: (UnixSeqpacket) async -> Void) async -> Bool {
    guard let successor = successor.withLock({ $0 }) else { return false }
    successor.watch?.cancel()
    await successor.watch?.value
    guard let socket = successor.socket else { return true }
    await last(socket)
    await socket.close()
    return true
  }
}

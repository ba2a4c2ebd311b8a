// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import Harness
internal import MessageSockets
internal import Synchronization

extension Bench where Socket: UnixConnection {
  /// The number of messages in flight.
  private static var wave: Int { 64 }

  /// Connections with a receive pending on one end, each in its own task; then one message to each.
  /// The other ends are plain descriptors, so that only one end's memory counts; they send with
  /// sendmsg(2), on the loop's thread. The tasks exist before the connections, so the memory of
  /// both can be measured.
  func idle() async throws -> Duration {
    let loop = loop(0)
    let listener = try UnixListener<Socket>.bind(to: Self.address(of: getpid()), on: loop)
    let connections = Connections<Socket>()
    let (waiting, receiving, wave) = (Slots(0), Slots(0), Slots(Self.wave))
    var peers = Peers()
    let before = ProcessState.residentBytes
    return try await withThrowingTaskGroup { group in
      for _ in 0..<options.pairCount {
        group.addTask(executorPreference: executor(of: loop)) {
          waiting.release()
          let connection = await connections.take()
          receiving.release()
          try await receiveOne(on: connection, wave)
        }
      }
      await waiting.acquire(options.pairCount)
      // Runs after all of them on the loop, so they wait.
      await loop.run {}
      let ofTasks = ProcessState.residentBytes - before
      for _ in 0..<options.pairCount {
        try peers.connect(to: listener.address, kind: Socket.kind)
        connections.add(try await listener.accept())
      }
      await receiving.acquire(options.pairCount)
      // As above: their receives are pending.
      await activity.begin()
      activity.note(
        residentBytesOfTasks: ofTasks, ofConnections: ProcessState.residentBytes - before)
      let elapsed = try await loop.run { [peers] in try await sendOne(to: peers, wave) }
      await activity.end()
      try peers.close()
      try await group.waitForAll()
      await listener.close()
      return elapsed
    }
  }

  /// Does not use a ``Receiver``, with which the task would hold the memory of all ways of
  /// receiving.
  private func receiveOne(on connection: Socket, _ wave: Slots) async throws {
    var count = 0
    if setting.shape == .messages {
      for try await message in connection.messages { count += try take(message, wave) }
    } else {
      while let message = try await connection.receiveMessage() { count += try take(message, wave) }
    }
    guard count == 1 else { throw Failure("\(count) messages instead of one") }
    await connection.close()
  }

  @inline(never)
  private func take(_ message: ReceivedMessage, _ wave: Slots) throws -> Int {
    var inbox = Inbox(options)
    var counter = Meter.Counter(meter)
    let count = try inbox.take(message)
    counter.add(count)
    wave.release()
    return count
  }

  private func sendOne(to peers: Peers, _ wave: Slots) async throws -> Duration {
    meter.begin()
    let start = ContinuousClock.now
    for peer in peers.descriptors {
      await wave.acquire()
      try outgoing.send(blockingOn: peer)
    }
    await wave.acquire(Self.wave)
    meter.end()
    return ContinuousClock.now - start
  }
}

/// Connections for tasks that wait for one.
private final class Connections<Socket: BenchSocket>: Sendable {
  private let sockets = Mutex<[Socket]>([])
  private let count = Slots(0)

  func add(_ socket: Socket) {
    sockets.withLock { $0.append(socket) }
    count.release()
  }

  func take() async -> Socket {
    await count.acquire()
    return sockets.withLock { $0.removeLast() }
  }
}

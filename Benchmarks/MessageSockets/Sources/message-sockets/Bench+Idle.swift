internal import Glibc
internal import Harness
internal import MessageSockets

extension Bench where Receiver.Socket: UnixConnection {
  /// Messages on their way at once.
  private static var wave: Int { 64 }

  /// Connections of which one end has a receive pending, a task each; then one message to each. The other ends are plain descriptors, so that only
  /// one end's memory counts; they send by sendmsg(2), on the loop's thread.
  func idle() async throws -> Duration {
    let loop = loop(0)
    let listener = try UnixListener<Socket>.bind(to: Self.address(of: getpid()), on: loop)
    let (started, wave) = (Slots(0), Slots(Self.wave))
    var peers = Peers()
    let before = ProcessState.residentBytes
    return try await withThrowingTaskGroup { group in
      for _ in 0..<options.pairCount {
        try peers.connect(to: listener.address, kind: Socket.kind)
        let connection = try await listener.accept()
        group.addTask(executorPreference: executor(of: loop)) {
          started.release()
          try await receiveOne(on: connection, wave)
        }
      }
      await started.acquire(options.pairCount)
      // Behind all of them on the loop: their receives are pending.
      await activity.begin()
      activity.note(residentBytes: ProcessState.residentBytes - before)
      let elapsed = try await loop.run { [peers] in try await sendOne(to: peers, wave) }
      await activity.end()
      try peers.close()
      try await group.waitForAll()
      await listener.close()
      return elapsed
    }
  }

  private func receiveOne(on connection: Socket, _ wave: Slots) async throws {
    var receiver = Receiver(connection, options)
    var counter = Meter.Counter(meter)
    guard try await receiver.receive() == 1 else { throw Failure("the peer closed") }
    counter.add(1)
    wave.release()
    guard try await receiver.receive() == nil else { throw Failure("more than one message") }
    await connection.close()
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

// SPDX-License-Identifier: Apache-2.0
import MessageSockets
import SeededRandom

/// Receives the messages of one connection, switching between the ways of receiving every few
/// messages.
struct Receiver<Socket: UnixSocket> {
  enum Way: CaseIterable { case await, deadline, sequence, memory, batch }

  enum Episode: Sendable {
    case enough, cancelled
    case end
    case failed(SocketError.Code)
  }

  let socket: Socket
  let plan: Plan
  let circumstances: Circumstances
  let isMortal: Bool
  let arrivals: Arrivals
  private var random: SeededGenerator
  private var executor: (any TaskExecutor)? { plan.receivesOnLoop ? socket.loop.taskExecutor : nil }

  init(_ socket: Socket, _ plan: Plan, _ circumstances: Circumstances, isMortal: Bool) {
    self.socket = socket
    self.plan = plan
    self.circumstances = circumstances
    self.isMortal = isMortal
    arrivals = Arrivals(plan, circumstances.tally)
    random = SeededGenerator(seed: plan.receiverSeed)
  }

  mutating func run() async {
    let end =
      plan.fate == .receiverCloses || plan.fate == .receiverDrops
      ? UInt64(random.number(0...plan.messages)) : UInt64.max
    while !arrivals.isComplete {
      if arrivals.next >= end {
        if plan.fate == .receiverDrops { return circumstances.tally.add(.dropped) }
        circumstances.tally.add(.closed)
        // Close with or without a receive in progress.
        return random.oneIn(2) ? await socket.close() : await closeDuringReceive()
      }
      switch await episode() {
      case .enough: break
      case .cancelled: circumstances.tally.add(.cancelledReceives)
      case .end: return
      case .failed(.deadlineExceeded): circumstances.tally.add(.expired)
      case .failed(.loopShutDown) where isMortal: return
      case .failed(let code): return violate("a receive failed: \(code)")
      }
    }
    await socket.close()
  }

  private func closeDuringReceive() async {
    let (socket, arrivals, tally) = (socket, arrivals, circumstances.tally)
    let receiving = Task(executorPreference: executor) {
      await Self.receive(1, in: .await, socket, arrivals, tally, 1)
    }
    await Task.yield()
    await socket.close()
    switch await receiving.value {
    case .enough, .end, .failed(.closed), .failed(.loopShutDown): break
    case let other: violate("a receive on a socket that was closed: \(other)")
    }
  }

  private mutating func episode() async -> Episode {
    let way = Way.allCases.randomElement(using: &random)!
    let (socket, arrivals, tally) = (socket, arrivals, circumstances.tally)
    let (count, detail) = (random.number(1...12), random.number(1...1500))
    if random.oneIn(3) {
      return await cancelled(&random, on: executor, loop: socket.loop) {
        await Self.receive(count, in: way, socket, arrivals, tally, detail)
      }
    }
    return await Task(executorPreference: executor) {
      await Self.receive(count, in: way, socket, arrivals, tally, detail)
    }.value
  }

  /// Receives at most `count` messages. `detail` is the further choice of each way: a time, a
  /// window or a size.
  private static func receive(
    _ count: Int, in way: Way, _ socket: Socket, _ arrivals: Arrivals, _ tally: Tally, _ detail: Int
  ) async -> Episode {
    do {
      switch way {
      case .sequence:
        var taken = 0
        for try await message in socket.messages(window: ReceiveWindow(messages: detail % 40 + 1)) {
          arrivals.take(message)
          taken += 1
          if taken == count || arrivals.isComplete {
            tally.add(.earlyExits)
            return .enough
          }
        }
        return .end
      default:
        for _ in 0..<count where !arrivals.isComplete {
          guard try await step(way, socket, arrivals, tally, detail) else { return .end }
        }
        return .enough
      }
    } catch let error as SocketError {
      return .failed(error.code)
    } catch {
      return .cancelled
    }
  }

  private static func step(
    _ way: Way, _ socket: Socket, _ arrivals: Arrivals, _ tally: Tally, _ detail: Int
  ) async throws -> Bool {
    switch way {
    case .await, .sequence:
      guard let message = try await socket.receiveMessage() else { return false }
      arrivals.take(message)
    case .deadline:
      guard let message = try await socket.receiveMessage(deadline: .now + .microseconds(detail))
      else { return false }
      arrivals.take(message)
    case .batch:
      let messages = try await socket.receiveMessages(upTo: detail % 20 + 1)
      for message in messages { arrivals.take(message) }
      tally.add(.batches)
      return !messages.isEmpty
    case .memory:
      // Part of a stream, but a whole message on other sockets.
      return try await receive(
        intoBytes: Socket.self == UnixStream.self ? detail : 1000, socket, arrivals)
    }
    return true
  }

  private static func receive(intoBytes count: Int, _ socket: Socket, _ arrivals: Arrivals)
    async throws -> Bool
  {
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 1)
    defer { memory.deallocate() }
    var payload = OutputRawSpan(buffer: memory, initializedCount: 0)
    guard var parts = try await socket.receiveMessage(into: &payload) else { return false }
    var descriptors = OwnedFds()
    swap(&descriptors, &parts.descriptors)
    arrivals.take(Array(memory[..<parts.byteCount])[...], descriptors)
    return true
  }

  private func violate(_ text: String) {
    circumstances.tally.violate("\(plan.kind) \(plan.line), fate \(plan.fate): \(text)")
  }
}

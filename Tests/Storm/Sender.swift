// SPDX-License-Identifier: Apache-2.0
import MessageSockets
import SeededRandom

/// Sends the messages of one connection in order. A send that was cancelled before it began is
/// repeated; one that was cut short is completed.
struct Sender<Socket: UnixSocket> {
  enum Attempt: Sendable {
    case sent, cancelled
    /// This many bytes went out, with the descriptor.
    case partly(Int)
    case failed(SocketError.Code)
  }

  let socket: Socket
  let plan: Plan
  let circumstances: Circumstances
  let isMortal: Bool
  private var random: SeededGenerator
  private var executor: (any TaskExecutor)? { plan.sendsOnLoop ? socket.loop.taskExecutor : nil }

  init(_ socket: Socket, _ plan: Plan, _ circumstances: Circumstances, isMortal: Bool) {
    self.socket = socket
    self.plan = plan
    self.circumstances = circumstances
    self.isMortal = isMortal
    random = SeededGenerator(seed: plan.senderSeed)
  }

  /// Returns how many messages went out completely.
  mutating func run() async -> UInt64 {
    var number: UInt64 = 0
    while number < plan.messages, !circumstances.isOver {
      // Long messages on streams, so that sends go out in parts.
      let longest = plan.kind == .stream && random.oneIn(12) ? 16_000 : 800
      let frame = Frame(
        number: number, length: random.number(0...random.number(0...longest)),
        hasFile: random.oneIn(2))
      guard await send(frame, mayCancel: true) else { return number }
      number += 1
    }
    switch plan.fate {
    case .senderCloses:
      circumstances.tally.add(.closed)
      await socket.close()
    case .senderDrops: circumstances.tally.add(.dropped)
    case .complete, .receiverCloses, .receiverDrops:
      guard
        await send(
          Frame(number: number, length: 0, hasFile: random.oneIn(2), isLast: true), mayCancel: false
        )
      else { return number }
      number += 1
    }
    return number
  }

  /// Sends a frame; returns false if the connection is over.
  private mutating func send(_ frame: Frame, mayCancel: Bool) async -> Bool {
    let bytes = frame.bytes
    var offset = 0
    while true {
      let (socket, rest, line, start) = (socket, Array(bytes[offset...]), plan.line, offset)
      let attempt =
        mayCancel && random.oneIn(6)
        ? await cancelled(&random, on: executor, loop: socket.loop) {
          await Self.attempt(frame, rest, start, line, socket)
        }
        : await Self.attempt(frame, rest, start, line, socket)
      switch attempt {
      case .sent: return true
      case .cancelled: circumstances.tally.add(.cancelledSends)
      case .partly(let count):
        circumstances.tally.add(.partialSends)
        if plan.kind != .stream || count <= 0 || count >= rest.count {
          violate("\(count) bytes of \(rest.count) were sent")
        }
        offset += count
        // It is then unknown how much went out.
        if isMortal { return false }
      case .failed(let code):
        if !isExpected(code) { violate("a send failed: \(code)") }
        return false
      }
    }
  }

  /// Tries to send the rest of a frame. The descriptor goes with the first byte; every attempt has
  /// its own.
  private static func attempt(
    _ frame: Frame, _ bytes: [UInt8], _ start: Int, _ line: UInt64, _ socket: Socket
  ) async -> Attempt {
    do {
      if frame.hasFile, start == 0 {
        try await socket.sendMessage(bytes, descriptor: try .numbered(line, frame.number))
      } else {
        try await socket.sendMessage(bytes)
      }
      return .sent
    } catch let error as SocketError {
      return error.code == .partialSend ? .partly(error.bytesSent) : .failed(error.code)
    } catch is CancellationError {
      return .cancelled
    } catch {
      return .failed(.system)
    }
  }

  private func isExpected(_ code: SocketError.Code) -> Bool {
    if isMortal, code == .loopShutDown { return true }
    switch plan.fate {
    case .receiverCloses, .receiverDrops:
      return [.peerClosed, .connectionReset, .connectionRefused, .notConnected].contains(code)
    case .complete, .senderCloses, .senderDrops: return isMortal && code == .peerClosed
    }
  }

  private func violate(_ text: String) {
    circumstances.tally.violate("\(plan.kind) \(plan.line), fate \(plan.fate): \(text)")
  }
}

// SPDX-License-Identifier: Apache-2.0
import MessageSockets

/// One call of one of the forms of receiving.
struct Receive: Sendable {
  enum Way: CaseIterable {
    case single, deadline, peek, errorQueue, doNotWait, fullLength, memory, batch, sequence
  }

  let way: Way
  /// The maximum number of messages to take.
  let count: Int
  /// The size of the caller's memory, for the form that receives into it.
  let room: Int?
  let window: ReceiveWindow

  init(_ input: Input) {
    way = input.choose(Way.allCases)
    count = way == .batch || way == .sequence ? input.number(1...6) : 1
    room = way == .memory ? input.number(1...64) : nil
    window = ReceiveWindow(
      messages: input.number(1...6), descriptors: input.oneIn(8) ? 1 : 253 + input.number(0...20))
  }

  init(_ way: Way) {
    self.way = way
    count = 1
    room = nil
    window = ReceiveWindow()
  }

  /// Receives; messages before an error or a cancellation stay in `arrivals`.
  func run(on socket: some UnixSocket, into arrivals: Arrivals) async {
    do {
      switch way {
      case .single: arrivals.add(try await socket.receiveMessage())
      case .deadline: arrivals.add(try await socket.receiveMessage(deadline: .now))
      case .peek: arrivals.add(try await socket.receiveMessage(options: .peek))
      case .errorQueue: arrivals.add(try await socket.receiveMessage(options: .errorQueue))
      case .doNotWait: arrivals.add(try await socket.receiveMessage(options: .doNotWait))
      case .fullLength: arrivals.add(try await socket.receiveMessage(options: .fullLength))
      case .memory: try await receiveIntoMemory(of: room!, from: socket, into: arrivals)
      case .batch:
        let batch = try await socket.receiveMessages(upTo: count)
        if batch.isEmpty { arrivals.add(nil) }
        for message in batch { arrivals.add(message) }
      case .sequence:
        var left = count
        for try await message in socket.messages(window: window) {
          arrivals.add(message)
          left -= 1
          if left == 0 { return }
        }
        arrivals.add(nil)
      }
    } catch let error as SocketError where error.code == .messageIncomplete {
      var message = ArrivedMessage(error.message!)
      message.isThrown = true
      arrivals.all.append(.message(message))
    } catch {
      arrivals.all.append(.failed(error))
    }
  }

  private func receiveIntoMemory(
    of count: Int, from socket: some UnixSocket, into arrivals: Arrivals
  ) async throws {
    // Exactly the stated size, so that the sanitizer detects a byte beyond.
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 1)
    defer { memory.deallocate() }
    var payload = OutputRawSpan(buffer: memory, initializedCount: 0)
    guard let parts = try await socket.receiveMessage(into: &payload) else {
      return arrivals.add(nil)
    }
    arrivals.all.append(
      .message(ArrivedMessage(parts, bytes: Array(memory.prefix(payload.byteCount)))))
  }
}

/// The results of a receive so far. `@unchecked Sendable`: the receiving task fills it, and it is
/// read after that task has ended.
final class Arrivals: @unchecked Sendable {
  var all: [Arrival] = []

  func add(_ message: ReceivedMessage?) {
    all.append(message.map { .message(ArrivedMessage($0)) } ?? .end)
  }
}

// SPDX-License-Identifier: Apache-2.0
import MessageSockets

/// The actions of one input on its pair of sockets. `@unchecked Sendable`: all of it runs on the
/// loop's thread.
final class Conversation: @unchecked Sendable {
  private let input: Input
  private let sent: SentMessages
  private let peer: Peer
  private let policy: ReceivePolicy
  private let receiver: Int32

  init(_ input: Input, kind: SocketKind, peer: Int32, receiver: Int32) {
    self.input = input
    self.receiver = receiver
    policy =
      input.oneIn(4)
      ? ReceivePolicy(maximumDescriptorsPerMessage: input.number(1...5)) : ReceivePolicy()
    sent = SentMessages(kind, policy)
    self.peer = Peer(number: peer, input, sent)
  }

  func run(_ socket: some UnixSocket) async throws {
    if policy != ReceivePolicy() { try await socket.setReceivePolicy(policy) }
    var rounds = 0
    while !input.isEmpty, rounds < 60 {
      rounds += 1
      peer.act(receiver: receiver)
      if input.oneIn(2) { await receive(from: socket) }
    }
    if !input.oneIn(4) { await drain(socket) }
    peer.close()
    if input.oneIn(2) { await socket.close() }
  }

  private func receive(from socket: some UnixSocket) async {
    let receive = Receive(input)
    // Unix sockets have no error queue: they treat this as an ordinary receive, which does not keep
    // its place.
    if receive.way == .errorQueue { return }
    let arrivals = Arrivals()
    let task = Task(executorPreference: socket.loop.taskExecutor) {
      await receive.run(on: socket, into: arrivals)
    }
    for _ in 0..<input.number(0...3) {
      for _ in 0..<input.number(0...2) { await Task.yield() }
      peer.act(receiver: receiver)
    }
    let isCancelled =
      input.oneIn(8) || !sent.suffices(for: receive.way == .sequence ? receive.count : 1)
    if isCancelled {
      for _ in 0..<input.number(0...6) { await Task.yield() }
      task.cancel()
    }
    await task.value
    sent.take(arrivals.all, of: receive, wasCancelled: isCancelled)
  }

  /// Receives the remaining messages, which must be in order, and then the end.
  private func drain(_ socket: some UnixSocket) async {
    input.oneIn(2) ? peer.close() : peer.shutdown()
    let single = Receive(.single)
    while true {
      if sent.isEmpty, sent.kind == .datagram { return }
      let wasEmpty = sent.isEmpty
      let arrivals = Arrivals()
      await single.run(on: socket, into: arrivals)
      sent.take(arrivals.all, of: single, wasCancelled: false)
      if wasEmpty { return }
    }
  }
}

// SPDX-License-Identifier: Apache-2.0
import Ancillary
import CMessageSockets
import SystemPackage
import SeededRandom

@testable import SocketEngine

extension Schedule {
  /// The ways of receiving.
  enum Way: CaseIterable { case single, expiring, ahead, intoMemory, batch, peeking, errors }

  func receiveSome(at endpoint: Endpoint) async {
    let way = Way.allCases.randomElement(using: &random)!
    for _ in 0..<random.number(1...6) {
      guard endpoint.channel != nil else { return }
      if !(await receiveOne(
        at: endpoint, in: random.oneIn(8) ? Way.allCases.randomElement(using: &random)! : way))
      {
        return
      }
      if random.oneIn(3) { await Task.yield() }
    }
  }

  /// Receives one message, and records it. Returns false if there was none.
  func receiveOne(at endpoint: Endpoint, in way: Way) async -> Bool {
    guard let channel = endpoint.channel else { return false }
    let index = endpoint.incoming
    let ticket = ledger.nextTicket()
    ledger.directions[index].waiting += 1
    defer { ledger.directions[index].waiting -= 1 }
    do {
      switch way {
      case .single:
        return enter(
          try await channel.receive(into: nil, flags: 0).takeOutcome(), ticket, at: index)
      case .expiring:
        return enter(
          try await channel.receive(into: nil, flags: 0, deadline: .now).takeOutcome(), ticket,
          at: index)
      case .ahead:
        // With room for few descriptors, nothing is received ahead, even if a multishot receive was
        // in progress.
        let descriptors = random.oneIn(4) ? random.number(1...252) : random.number(253...300)
        let window = ReceiveWindow(
          messages: random.number(1...Ledger.largestWindow), descriptors: descriptors)
        return enter(
          try await channel.receiveAhead(window: window).takeOutcome(), ticket, at: index)
      case .peeking:
        // The copy's descriptors close here. Their identity is not checked, because only the first
        // check can determine it.
        let copy = try await channel.receive(into: nil, flags: cms_msg_peek).takeOutcome()
        ledger.count("peeks")
        return !copy.isEnd
      case .errors:
        // The queue is always empty, so only a stop ends the wait.
        _ = try await channel.receive(into: nil, flags: cms_msg_errqueue, deadline: .now)
          .takeOutcome()
        if driver.sockets[endpoint.number]?.isShutDownForReceiving != true {
          ledger.violate("an error was received where there is none")
        }
        return false
      case .batch: return try await receiveBatch(channel, ticket, at: index)
      case .intoMemory: return try await receiveIntoMemory(channel, ticket, at: index)
      }
    } catch {
      if !isJustified(error, at: endpoint, mayExpire: way == .expiring || way == .errors) {
        ledger.violate("a receive failed without a cause: \(error)")
      }
      // A peek may see an error that another receive gets.
      if way != .peeking, let error = error as? SocketError, error.code != .loopFailed,
        let errno = error.errno
      {
        ledger.receiveFailed(index, errno)
      }
      ledger.count("failed receives")
      return false
    }
  }

  /// Receives a batch as `receiveMessages(upTo:)` does: messages that have arrived go to the task
  /// that waited for the first one.
  private func receiveBatch(_ channel: SocketChannel, _ ticket: Int, at index: Int) async throws
    -> Bool
  {
    guard
      enter(
        try await channel.receiveAhead(window: ReceiveWindow(messages: Ledger.largestWindow))
          .takeOutcome(), ticket, at: index)
    else {
      return false
    }
    var ticket = ledger.nextTicket()
    for _ in 1..<Ledger.largestWindow {
      guard let next = await channel.receiveIfThere()?.takeOutcome(), enter(next, ticket, at: index)
      else { break }
      ticket = ledger.nextTicket()
    }
    return true
  }

  private func receiveIntoMemory(_ channel: SocketChannel, _ ticket: Int, at index: Int)
    async throws -> Bool
  {
    let room = random.number(1...60)
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: room, alignment: 1)
    defer { memory.deallocate() }
    let outcome = try await channel.receive(into: memory, flags: 0).takeOutcome()
    let bytes = Array(memory.prefix(min(outcome.byteCount, room)))
    return enter(outcome, ticket, at: index, bytes: bytes, room: room)
  }

  private func enter(
    _ outcome: consuming OperationOutcome, _ ticket: Int, at index: Int, bytes: [UInt8]? = nil,
    room: Int? = nil
  ) -> Bool {
    if outcome.isEnd {
      ledger.directions[index].ends.append(ticket)
      return false
    }
    var received = Ledger.Received(
      bytes: bytes ?? outcome.takePayload(), ids: [], room: room, ticket: ticket)
    received.isTruncated = outcome.messageFlags & cms_msg_trunc != 0
    received.lacksFiles = outcome.messageFlags & cms_msg_ctrunc != 0
    while let descriptor = outcome.descriptors.takeFirst() {
      received.ids.append(identify(descriptor))
    }
    ledger.directions[index].received.append(received)
    return true
  }

  private func identify(_ descriptor: borrowing OwnedFd) -> UInt64 {
    descriptor.withUnsafeFileDescriptor { descriptor in
      if !SimulatedFiles.isCloseOnExec(descriptor.rawValue) {
        ledger.violate("a received descriptor is not close-on-exec")
      }
      guard let id = SimulatedFiles.identify(descriptor.rawValue) else {
        ledger.violate("a received descriptor is closed, another file's, or was delivered before")
        return 0
      }
      return id
    }
  }

  // MARK: Connections

  func accept(at endpoint: Endpoint) async {
    guard let channel = endpoint.channel, endpoint.kind != .datagram else { return }
    do {
      let connection = try await channel.accept()
      ledger.connectionsAccepted.append(
        connection.withUnsafeFileDescriptor { SimulatedFiles.identify($0.rawValue) } ?? 0)
    } catch {
      if !isJustified(error, at: endpoint, mayExpire: false) {
        ledger.violate("an accept failed without a cause: \(error)")
      }
    }
  }

  func connect(_ endpoint: Endpoint) async {
    guard let channel = endpoint.channel, let address = UnixAddress("@simulated") else { return }
    do {
      try await channel.connect(to: AnySocketAddress(address))
    } catch {
      if !isJustified(error, at: endpoint, mayExpire: false) {
        ledger.violate("a connect failed without a cause: \(error)")
      }
    }
  }
}

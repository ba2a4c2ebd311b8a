// SPDX-License-Identifier: Apache-2.0
import Ancillary
import CMessageSockets
import SystemPackage
import SeededRandom

@testable import SocketEngine

extension Schedule {
  func sendSome(from endpoint: Endpoint) async {
    guard let channel = endpoint.channel else { return }
    for _ in 0..<random.number(1...5) {
      if Task.isCancelled, random.oneIn(2) { return }
      await send(on: channel, from: endpoint)
      if random.oneIn(3) { await Task.yield() }
    }
  }

  private func send(on channel: SocketChannel, from endpoint: Endpoint) async {
    let message = nextMessageNumber()
    // The bytes begin with the message's number; an empty message carries a descriptor with its
    // number.
    let isEmpty = !endpoint.isStream && random.oneIn(10)
    var bytes = withUnsafeBytes(of: message) { Array($0) }
    for _ in 0..<random.number(0...random.number(1...80)) {
      bytes.append(UInt8.random(in: 0...255, using: &random))
    }
    if isEmpty { bytes = [] }
    let count =
      random.oneIn(2) ? 0 : random.oneIn(10) ? random.number(4...20) : random.number(1...3)
    let ids = (0..<(isEmpty ? max(1, count) : count)).map { message << 8 | UInt64($0) }
    let numbers = ids.map { SimulatedFiles.make($0) }
    for (id, number) in zip(ids, numbers) { ledger.lent[number] = id }
    ledger.sendings[message] = Ledger.Sending(bytes: bytes, ids: ids)

    let failure = await failureOfSending(
      bytes, numbers.map { FileDescriptor(rawValue: $0) }, on: channel)
    judge(failure, message, at: endpoint)
    for number in numbers {
      ledger.lent[number] = nil
      _ = cms_close(number)
    }
  }

  private func failureOfSending(
    _ bytes: [UInt8], _ descriptors: [FileDescriptor], on channel: SocketChannel
  ) async -> (any Error)? {
    do {
      try await channel.send(
        bytes.payloadBytes, numbers: descriptors.span, control: ControlMessageBuffer(), flags: 0)
      return nil
    } catch {
      return error
    }
  }

  private func judge(_ failure: (any Error)?, _ message: UInt64, at endpoint: Endpoint) {
    let said = ledger.sendings[message]?.errno
    let error = failure as? SocketError
    ledger.sendEnded(
      message, isStream: endpoint.isStream, error: failure, stoppedBytes: error?.bytesSent ?? 0)
    guard let failure else { return ledger.count("sends") }
    ledger.count("failed sends")
    if !isJustified(failure, at: endpoint, mayExpire: false) {
      ledger.violate("send \(message) failed without a cause: \(failure)")
    }
    if let errno = error?.errno, errno.rawValue != said, error?.code != .loopFailed {
      ledger.violate("send \(message) failed with \(errno), the kernel had said \(said ?? 0)")
    }
  }
}

// SPDX-License-Identifier: Apache-2.0
import AsyncAlgorithms
import MessageSockets
import ServiceLifecycle

/// Receives lines, one per message, from a Unix and a UDP socket, and prints them in batches: every
/// 100 lines, and the remainder every 50 ms.
struct LineCollector: Service {
  let local: UnixDatagram
  let remote: UDPSocket
  let tally: Tally

  /// The sequences of both sockets can be used like any other. When the program is asked to stop,
  /// the merged sequence ends, the last batch is printed, and the sockets are closed.
  func run() async throws {
    let lines = merge(local.messages, remote.messages).cancelOnGracefulShutdown().map {
      String(decoding: $0.payload, as: UTF8.self)
    }
    for try await batch in lines.chunks(ofCount: 100, or: .repeating(every: .milliseconds(50))) {
      tally.add(batch.count)
      for line in batch { Console.say(line) }
    }
    await local.close()
    await remote.close()
  }

  var addresses: String {
    get async throws {
      guard let local = try await local.localAddress(), let remote = try await remote.localAddress()
      else { return "nowhere" }
      return "\(local) \(remote)"
    }
  }
}

// SPDX-License-Identifier: Apache-2.0
import MessageSockets

/// Requests many files, iterates over the replies, and compares the contents of the descriptors
/// with the files.
struct PassingCheck {
  let client: BrokerClient
  let files: FileList
  let root: FilePath

  /// Returns how many descriptors arrived, each with the bytes of its file.
  func run(_ count: Int) async throws -> Int {
    var ledger = ReplyLedger(root: root)
    let requests = (0..<count).map { ledger.makeRequest(for: files[wrapping: $0]) }
    for request in requests { ledger.add(request) }

    return try await withThrowingTaskGroup(of: Void.self) { group in
      // Sends in a separate task: a broker whose replies are not read takes no more requests.
      group.addTask {
        for request in requests { try await client.send(request) }
      }
      var passed = 0
      if count > 0 {
        for try await reply in client.socket.messages {
          try ledger.settle(reply)
          passed += 1
          if passed == count { break }
        }
      }
      guard passed == count else {
        throw Failure("the broker ended the connection after \(passed) of \(count) replies")
      }
      try await group.waitForAll()
      return passed
    }
  }
}

// SPDX-License-Identifier: Apache-2.0
import MessageSockets

/// Makes requests that a broker must refuse. Each refusal is a message, after which the connection
/// continues.
struct RefusalCheck {
  let client: BrokerClient
  let root: FilePath

  private static let cases: [(name: String, status: Status)] = [
    ("no-such-file", .notFound),
    ("no-such-directory/file", .notFound),
    ("../outside", .outsideRoot),
    ("/etc/passwd", .outsideRoot),
    (".", .notAFile),
    (String(repeating: "long", count: 2000), .malformedRequest),
  ]

  /// Returns how many requests were refused.
  func run() async throws -> Int {
    var ledger = ReplyLedger(root: root)
    for (name, status) in Self.cases {
      let request = ledger.makeRequest(for: name)
      try await client.send(request)
      ledger.add(request)
      let reply = try await client.receive()
      try ledger.settle(reply, expecting: status)
      guard reply.descriptorCount == 0 else {
        throw Failure("a descriptor came with the refusal of \(name)")
      }
    }
    return Self.cases.count
  }
}

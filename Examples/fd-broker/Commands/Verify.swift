// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import MessageSockets

struct Verify: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Checks a broker: descriptors, refusals, cancellations, leaks.",
    discussion: """
      Asks for files and compares the bytes; asks for what must be refused; cancels receives at awkward moments, and checks that every reply \
      still comes exactly once and in order. Ends with a report of what was counted.
      """
  )

  @Option(help: "Where the broker listens: a path, or @NAME for an abstract address.")
  var socket: String

  @Option(
    help:
      "The directory that the broker serves, as this process sees it. Its files must not change meanwhile."
  )
  var root: String

  @Option(help: "How many descriptors to ask for.")
  var descriptors = 1000

  @Option(help: "How many receives to cancel.")
  var cancellations = 200

  func validate() throws {
    guard descriptors >= 0, cancellations >= 0 else {
      throw ValidationError("counts cannot be negative")
    }
  }

  func run() async throws {
    let files = try FileList(below: root, limit: max(1, descriptors))
    let address = try UnixAddress(argument: socket)
    let loop = try IOLoop()
    let before = try await OpenDescriptors.baseline()
    let counts = try await check(UnixSeqpacket.connect(to: address, on: loop), files)
    let after = try OpenDescriptors.current()
    await loop.shutdown()
    Console.say("\(Report(counts, before: before, after: after))")
  }

  private func check(_ connection: UnixSeqpacket, _ files: FileList) async throws -> [String: Int] {
    let client = BrokerClient(socket: connection)
    let root = FilePath(root)

    let passed = try await PassingCheck(client: client, files: files, root: root).run(descriptors)
    Console.note(
      "\(passed) descriptors passed, for \(files.names.count) files; all bytes are equal")

    let refused = try await RefusalCheck(client: client, root: root).run()
    Console.note("\(refused) bad requests refused, each by a message")

    var cancelling = CancellationCheck(
      client: client, files: files, root: root, target: cancellations)
    try await cancelling.run()
    let statistics = await connection.loop.statistics
    Console.note(
      """
      \(cancelling.cancelled) receives cancelled (\(statistics.cancelled) operations in the kernel, \
      \(statistics.wonAgainstCancellation) finished first); all \(cancelling.replies) replies came once, in order
      """)

    // After our last request, the broker sends nothing but the end.
    try await connection.shutdown(.sending)
    guard try await connection.receiveMessage() == nil else { throw Failure("a reply came twice") }
    await connection.close()
    return [
      "passed": passed, "cancelled": cancelling.cancelled,
      "replies": passed + refused + cancelling.replies,
    ]
  }
}

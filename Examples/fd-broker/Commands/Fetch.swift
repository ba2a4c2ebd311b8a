// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Foundation
import MessageSockets

struct Fetch: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Asks a broker for files, and writes what their descriptors lead to.",
    discussion: "Exits with 1 when a file was refused; the others are written all the same."
  )

  @Option(help: "Where the broker listens: a path, or @NAME for an abstract address.")
  var socket: String

  @Argument(help: "Names of files, relative to the directory that the broker serves.")
  var names: [String]

  func run() async throws {
    let connection = try await UnixSeqpacket.connect(to: try UnixAddress(argument: socket))
    let client = BrokerClient(socket: connection)
    var refusals = 0
    for (index, name) in names.enumerated() {
      let request = Request(number: UInt32(index), name: name)
      try await client.send(request)
      let message = try await client.receive()
      guard let reply = Reply(decoding: message.payload) else {
        throw Failure("a message that is no reply came")
      }
      if reply.status == .opened, let file = message.takeDescriptor() {
        try file.forEachPiece { try FileHandle.standardOutput.write(contentsOf: Data($0)) }
      } else {
        Console.note("\(name): \(reply.status)")
        refusals += 1
      }
    }
    await connection.close()
    if refusals > 0 { throw ExitCode.failure }
  }
}

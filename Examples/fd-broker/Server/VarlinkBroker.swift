// SPDX-License-Identifier: Apache-2.0
import MessageSockets
import Varlink

/// The broker's second interface: Varlink, for shells (`varlinkctl`), Python, Go and Rust.
struct VarlinkBroker: Sendable {
  private struct OpenArguments: Decodable { var path: String }
  private struct OpenReply: Encodable { var file: Int }
  private struct Refused: Encodable {
    var path: String
    var reason: String
  }

  private let service: VarlinkService

  init(directory: consuming ServedDirectory) {
    let served = Served(directory)
    var broker = VarlinkInterface(
      "com.example.Broker",
      description: """
        # Opens files for those who may not open them.
        interface com.example.Broker

        # Opens a regular file below the directory that is served, for reading. `file` is the index of its descriptor.
        method Open(path: string) -> (file: int)

        error Refused(path: string, reason: string)

        """)
    broker.method("Open") { (arguments: OpenArguments, call) in
      do {
        return OpenReply(file: try call.push(try served.directory.open(arguments.path)))
      } catch let refusal as Status {
        throw try VarlinkError(
          "com.example.Broker.Refused",
          parameters: Refused(path: arguments.path, reason: "\(refusal)"))
      }
    }
    var service = VarlinkService(
      vendor: "swift-message-sockets", product: "fd-broker", version: "1",
      url: "https://example.com/fd-broker")
    service.limits = VarlinkLimits(messageSize: 16 << 10, maximumDescriptorsPerMessage: 1)
    service.add(broker)
    self.service = service
  }

  /// Answers the calls of all clients until its task is cancelled.
  func run(on listener: UnixListener<UnixStream>) async throws {
    try await service.serve(
      listener, onError: { Console.note("a Varlink connection ended: \($0)") })
  }

  /// Holds the directory, which handlers share.
  private final class Served: Sendable {
    let directory: ServedDirectory
    init(_ directory: consuming ServedDirectory) { self.directory = directory }
  }
}

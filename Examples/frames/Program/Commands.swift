// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Foundation
import MessageSockets

extension UnixAddress {
  /// The address that the user entered: a path, or `@NAME`.
  init(argument: String) throws {
    do {
      self =
        argument.hasPrefix("@")
        ? try UnixAddress(abstract: String(argument.dropFirst()))
        : try UnixAddress(path: FilePath(argument))
    } catch {
      throw ValidationError("'\(argument)' is no socket address: \(error)")
    }
  }
}

struct Serve: AsyncParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Takes pictures until it is ended.")

  @Option(help: "Where to listen: a path, or @NAME.") var socket: String
  @Option(help: "The directory that the PNGs go to.") var output: String

  func run() async throws {
    let loop = try IOLoop()
    let service = FrameService(writingTo: FilePath(output))
    let listener = try UnixListener<UnixSeqpacket>.bind(
      to: try UnixAddress(argument: socket), policy: FrameService.policy, on: loop)
    print("listening on \(socket)")
    try await listener.serve(
      ServeLimits(maximumConnections: 64), onError: { print("a client: \($0)") },
      handler: service.handle)
  }
}

struct Send: AsyncParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Sends pictures.")

  @Option(help: "Where the service listens.") var socket: String
  @Option(help: "How many pictures.") var frames = 10
  @Option(help: "Their width.") var width = 320
  @Option(help: "Their height.") var height = 200

  func run() async throws {
    let loop = try IOLoop()
    let client = try await FrameClient.connect(to: socket, on: loop)
    for frame in 0..<frames {
      let answer = try await client.send(PictureHeader(width: width, height: height), frame: frame)
      guard answer.hasPrefix("written") else { throw Refusal(answer) }
    }
    await client.service.close()
    await loop.shutdown()
  }
}

extension Harms: ExpressibleByArgument {}

struct Harm: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Does harm to the service, of one kind.")

  @Option(help: "Where the service listens.") var socket: String
  @Argument(help: "The kind.") var kind: Harms

  func run() async throws {
    let loop = try IOLoop()
    let client = try await FrameClient.connect(to: socket, on: loop)
    let answer = try await kind.run(client)
    print("\(kind): \(answer)")
    guard answer.hasPrefix("refused") || kind.mayBeTaken else { throw ExitCode.failure }
    await client.service.close()
    await loop.shutdown()
  }
}

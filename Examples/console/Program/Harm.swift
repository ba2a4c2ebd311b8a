// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import MessageSockets

/// Clients that do not send a terminal as a runtime does.
enum Harms: String, CaseIterable, Sendable, ExpressibleByArgument {
  /// A name without a descriptor.
  case none
  /// Two terminals in one message.
  case two
  /// Two terminals, one after the other.
  case twoMessages
  /// As many descriptors as one message carries.
  case many
  /// A regular file.
  case file
  /// Another character device, which a name cannot make a terminal.
  case device
  /// A terminal that can only be read.
  case readOnly
  /// A terminal that is open for nothing but its name.
  case pathOnly
  /// A name that is cut off, because it has no end.
  case longName
  /// A name that would change the terminal that it is printed on.
  case escapes
  /// Bytes that are no text.
  case garbage
  /// A connection without a message.
  case nothing

  var expected: Refusal {
    switch self {
    case .none, .nothing: .noDescriptor
    case .two, .twoMessages, .many: .severalDescriptors
    case .file, .device, .readOnly, .pathOnly: .notATerminal
    case .longName, .escapes, .garbage: .name
    }
  }

  /// Sends, and closes.
  func run(_ service: UnixStream) async throws {
    let name = Array("/dev/ptmx".utf8)
    switch self {
    case .none: try await service.sendMessage(name)
    case .two: try await service.sendMessage(name, descriptors: Self.masters(2).span)
    case .twoMessages:
      try await service.sendMessage(name, descriptor: Self.open("/dev/ptmx"))
      try await service.sendMessage(name, descriptor: Self.open("/dev/ptmx"))
    case .many: try await service.sendMessage(name, descriptors: Self.masters(253).span)
    case .file:
      try await service.sendMessage(name, descriptor: Self.open("/proc/self/exe", .readOnly))
    case .device: try await service.sendMessage(name, descriptor: Self.open("/dev/zero"))
    case .readOnly:
      try await service.sendMessage(name, descriptor: Self.open("/dev/ptmx", .readOnly))
    case .pathOnly:
      // O_PATH.
      let access = FileDescriptor.AccessMode(rawValue: 0o10_000_000)
      try await service.sendMessage(name, descriptor: Self.open("/dev/ptmx", access))
    case .longName:
      let long = [UInt8](repeating: UInt8(ascii: "/"), count: 100_000)
      try await service.sendMessage(long, descriptor: Self.open("/dev/ptmx"))
    case .escapes:
      try await service.sendMessage(
        Array("\u{1B}]0;owned\u{7}".utf8), descriptor: Self.open("/dev/ptmx"))
    case .garbage: try await service.sendMessage([0xFF, 0xFE], descriptor: Self.open("/dev/ptmx"))
    case .nothing: break
    }
  }

  private static func open(
    _ path: FilePath, _ access: FileDescriptor.AccessMode = .readWrite
  ) throws -> OwnedFd {
    OwnedFd(adopting: try FileDescriptor.open(path, access, options: .closeOnExec))
  }

  private static func masters(_ count: Int) throws -> OwnedFds {
    var masters = OwnedFds()
    for _ in 0..<count { masters.append(try open("/dev/ptmx")) }
    return masters
  }
}

struct Harm: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Sends something else than a terminal, of one kind.")

  @Option(help: "Where the service listens.") var socket: String
  @Argument(help: "The kind.") var kind: Harms

  func run() async throws {
    let loop = try IOLoop()
    let service = try await UnixStream.connect(to: UnixAddress(path: FilePath(socket)), on: loop)
    do { try await kind.run(service) } catch let error as SocketError
      where [.peerClosed, .connectionReset, .partialSend].contains(error.code)
    {
      // The service has hung up before all was sent.
    }
    await service.close()
    await loop.shutdown()
  }
}

// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import CMsock
import MessageSockets

/// A command that does its work on a loop. An error becomes a line on standard error and an exit
/// status.
protocol LoopCommand: AsyncParsableCommand {
  var limits: Limits { get }

  func run(on loop: IOLoop) async throws
}

struct Limits: ParsableArguments {
  @Option(help: ArgumentHelp("Give up after so many seconds (status 75).", valueName: "seconds"))
  var timeout: Double?

  func validate() throws {
    if let timeout, !(timeout >= 0 && timeout < 1e9) {
      throw ValidationError("a time limit is a number of seconds from 0 on")
    }
  }
}

extension LoopCommand {
  func run() async throws {
    try await reportingFailures {
      // The command is a separate value, passed to one task.
      let command = UncheckedBox(self)
      try await limits.onLoop { try await command.value.run(on: $0) }
    }
  }
}

extension Limits {
  /// Runs `body` on a loop, within the time limit; shuts the loop down when it returns.
  func onLoop<Result: Sendable>(
    _ body: @escaping @Sendable (IOLoop) async throws -> Result
  ) async throws -> Result {
    let loop = try IOLoop()
    let result: Result
    if let timeout {
      result = try await loop.withDeadline(.now + .seconds(timeout)) { try await body(loop) }
    } else {
      result = try await body(loop)
    }
    await loop.shutdown()
    return result
  }
}

/// `@unchecked Sendable`: a parsed command never changes, and one task at a time uses it.
struct UncheckedBox<Value>: @unchecked Sendable {
  let value: Value
  init(_ value: Value) { self.value = value }
}

extension ParsableCommand {
  /// Runs `body`; reports a failure, and converts it to the exit status.
  func reportingFailures(_ body: () async throws -> Void) async throws {
    do { try await body() } catch let code as ExitCode { throw code } catch {
      let failure = Failure(error)
      Console.note("\(Self._commandName): \(failure.text)")
      throw failure.status
    }
  }
}

struct SocketOptions: ParsableArguments {
  @Flag(help: "Use a seqpacket socket, which keeps the boundaries of messages.")
  var seqpacket = false
}

extension UnixAddress {
  /// The address that the user entered: a path, or `@NAME`.
  init(argument: String) throws {
    do {
      self =
        argument.hasPrefix("@")
        ? try UnixAddress(abstract: String(argument.dropFirst()))
        : try UnixAddress(path: FilePath(argument))
    } catch {
      throw Failure(
        .wrongUsage, "'\(argument)' is no address: a path of at most 108 bytes, or @NAME (\(error))"
      )
    }
  }
}

/// A Unix connection of either kind.
enum Connection {
  case stream(UnixStream)
  case seqpacket(UnixSeqpacket)

  static func connect(to address: UnixAddress, seqpacket: Bool, on loop: IOLoop) async throws
    -> Connection
  {
    seqpacket
      ? .seqpacket(try await UnixSeqpacket.connect(to: address, on: loop))
      : .stream(try await UnixStream.connect(to: address, on: loop))
  }

  func send(_ payload: [UInt8], descriptors: borrowing OwnedFds) async throws {
    switch self {
    case .stream(let socket): try await socket.sendMessage(payload, descriptors: descriptors.span)
    case .seqpacket(let socket):
      try await socket.sendMessage(payload, descriptors: descriptors.span)
    }
  }

  func receive() async throws -> ReceivedMessage? {
    switch self {
    case .stream(let socket): try await socket.receiveMessage()
    case .seqpacket(let socket): try await socket.receiveMessage()
    }
  }

  /// The peer's next message; nil if it sends no more.
  ///
  /// A stream has no boundaries: everything until the peer closes, or shuts down its sending side,
  /// is one message.
  ///
  /// - Throws: ``Failure`` if a stream brings more than a message may have; everything received is
  ///   dropped.
  func receiveWhole() async throws -> WholeMessage? {
    guard case .stream = self else {
      guard let message = try await receive() else { return nil }
      return WholeMessage(text: message.payload, files: message.takeDescriptors())
    }
    var text: [UInt8] = []
    var files = OwnedFds()
    while let message = try await receive() {
      text += message.payload
      var more = message.takeDescriptors()
      while let file = more.takeFirst() { files.append(file) }
      guard text.count <= 64 << 10 else {
        throw Failure(.notAdmitted, "the message is longer than 64 KiB")
      }
      guard files.count <= ControlMessages.maximumDescriptors else {
        throw Failure(
          .notAdmitted,
          "the message has more than \(ControlMessages.maximumDescriptors) descriptors")
      }
    }
    guard !text.isEmpty else { return nil }
    return WholeMessage(text: text, files: files)
  }

  func peerIdentity() async throws -> PeerIdentity {
    switch self {
    case .stream(let socket): try await socket.peerIdentity()
    case .seqpacket(let socket): try await socket.peerIdentity()
    }
  }

  /// Ends sending; the peer's answers can still be received.
  func endSending() async throws {
    switch self {
    case .stream(let socket): try await socket.shutdown(.sending)
    case .seqpacket(let socket): try await socket.shutdown(.sending)
    }
  }

  func close() async {
    switch self {
    case .stream(let socket): await socket.close()
    case .seqpacket(let socket): await socket.close()
    }
  }
}

/// A message with its descriptors.
struct WholeMessage: ~Copyable {
  let text: [UInt8]
  let files: OwnedFds
}

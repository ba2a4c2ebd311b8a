// SPDX-License-Identifier: Apache-2.0
import Foundation
import MessageSockets
import MessageSocketsTesting
import SystemPackage
import Testing

@testable import console

@Suite(.timeLimit(.minutes(2)), .serialized) struct ConsoleTests {
  static let drivers: [IOLoop.DriverChoice] = [.automatic, .epoll]

  /// The program as its page shows it, with containers of the real runc, and each faulty client as
  /// a process.
  @Test(
    .enabled(if: ["/usr/sbin/runc", "/usr/bin/runc"].contains(where: isProgram), "no runc"),
    arguments: ["automatic", "epoll"]) func containersOfRunc(driver: String) throws
  {
    let demo = Process()
    let output = Pipe()
    demo.executableURL = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
      .deletingLastPathComponent().appendingPathComponent("console")
    demo.environment = ProcessInfo.processInfo.environment.merging(
      ["MESSAGE_SOCKETS_DRIVER": driver]) { $1 }
    demo.standardOutput = output
    try demo.run()
    let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    demo.waitUntilExit()
    #expect(demo.terminationReason == .exit && demo.terminationStatus == 0, "\(text)")
    let count = Harms.allCases.count
    #expect(text.hasPrefix("ok: 2 containers, ") || text.hasPrefix("ok: containers skipped ("))
    #expect(text.contains("\(count) clients refused, 0 descriptors"))
  }

  @Test(arguments: Harms.allCases, drivers) func clientsThatSendNoTerminal(
    kind: Harms, driver: IOLoop.DriverChoice
  ) async throws {
    try await onLoop(driver) { loop in
      let (client, service) = try UnixStream.makePair(on: loop)
      try await service.setReceivePolicy(Terminal.policy)
      async let sent: Void = send(kind, client)
      await #expect(throws: kind.expected) { try await Terminal.receive(from: service) }
      await service.close()
      await sent
    }
  }

  /// What it sends may fail, as the service hangs up when it has seen enough.
  private func send(_ kind: Harms, _ client: UnixStream) async {
    try? await kind.run(client)
    await client.close()
  }

  @Test(arguments: drivers) func aTerminalThatIsComplete(driver: IOLoop.DriverChoice) async throws {
    try await onLoop(driver) { loop in
      let (client, service) = try UnixStream.makePair(on: loop)
      try await service.setReceivePolicy(Terminal.policy)
      // The name in two parts.
      try await client.sendMessage(Array("/dev/".utf8), descriptor: Self.master())
      async let received = Terminal.receive(from: service)
      try await client.sendMessage(Array("ptmx".utf8))
      await client.close()
      let terminal = try await received
      #expect(terminal.name == "/dev/ptmx")
      #expect(terminal.master.withUnsafeFileDescriptor { isatty($0.rawValue) } == 1)
      await service.close()
    }
  }

  /// The client keeps the connection open after the descriptor has come.
  @Test(arguments: drivers) func aClientThatIsLate(driver: IOLoop.DriverChoice) async throws {
    try await onLoop(driver) { loop in
      let (client, service) = try UnixStream.makePair(on: loop)
      try await service.setReceivePolicy(Terminal.policy)
      try await client.sendMessage([47], descriptor: Self.master())
      await #expect(throws: Refusal.tooLate) {
        try await Terminal.receive(from: service, patience: .milliseconds(10))
      }
      let receiving = Task { try await Terminal.receive(from: service, patience: .seconds(100)) }
      try await client.sendMessage([47], descriptor: Self.master())
      receiving.cancel()
      await #expect(throws: CancellationError.self) { try await receiving.value }
      await client.close()
      await service.close()
    }
  }

  /// A process without a container, which sends as runc does.
  @Test(arguments: drivers) func aProcessIsTyped(driver: IOLoop.DriverChoice) async throws {
    try await onLoop(driver) { loop in
      let session = try Session(loop, typing: "hello\n")
      let program = try session.start("read line; echo size $(stty size); echo read $line; exit 7")
      #expect(try session.printed(until: "read hello").contains("size 37 101"))
      try await session.relayed.value
      await session.end()
      program.waitUntilExit()
      #expect(program.terminationStatus == 7)
    }
  }

  /// Neither an output that is not read nor a terminal that takes no more delays the end. The
  /// process is hung up (SIGHUP), so that no other copy of the master can be open.
  @Test(
    arguments: ["exec yes", "stty raw -echo; echo ready; exec sleep 1000"], drivers)
  func cancelledWhileBothWait(script: String, driver: IOLoop.DriverChoice) async throws {
    try await onLoop(driver) { loop in
      let session = try Session(loop, typing: nil)
      let program = try session.start(script)
      if script.contains("yes") {
        session.waitUntilOutputIsFull()
      } else {
        _ = try session.printed(until: "ready")
      }
      session.server.cancel()
      await #expect(throws: CancellationError.self) { try await session.relayed.value }
      await session.end()
      program.waitUntilExit()
      // yes(1) may see its write fail before the signal.
      #expect([1, 128 + SIGHUP].contains(program.terminationStatus))
    }
  }

  private func onLoop(
    _ driver: IOLoop.DriverChoice, _ body: @Sendable (IOLoop) async throws -> Void
  ) async throws {
    // Foundation keeps descriptors of its own once it has started a process.
    let first = try Process.run(URL(fileURLWithPath: "/bin/true"), arguments: [])
    first.waitUntilExit()
    try await withDescriptorCheck {
      var configuration = IOLoop.Configuration()
      configuration.driver = driver
      let loop = try IOLoop(configuration)
      try await body(loop)
      await loop.shutdown()
    }
  }

  private static func master() throws -> OwnedFd {
    OwnedFd(
      adopting: try FileDescriptor.open(FilePath("/dev/ptmx"), .readWrite, options: .closeOnExec))
  }

  private static func isProgram(_ path: String) -> Bool {
    FileManager.default.isExecutableFile(atPath: path)
  }
}

/// A server for one terminal.
private final class Session: Sendable {
  private let socket: String
  private let output = Pipe()
  private let input: Pipe
  let server: Task<Void, any Error>
  /// Ends with the relay.
  let relayed: Task<Void, any Error>

  /// - Parameter text: What is typed; nil types without an end.
  init(_ loop: IOLoop, typing text: String?) throws {
    socket =
      FileManager.default.temporaryDirectory.appendingPathComponent(
        "console-\(UUID().uuidString).sock"
      ).path
    let listener = try UnixListener.forTerminals(at: socket, on: loop)
    let endless = try FileHandle(forReadingFrom: URL(fileURLWithPath: "/dev/zero"))
    input = Pipe()
    if let text { try input.fileHandleForWriting.write(contentsOf: Data(text.utf8)) }
    let source = text == nil ? endless : input.fileHandleForReading
    let (ends, ended) = AsyncStream.makeStream(of: Result<Void, any Error>.self)
    server = Task { [output] in
      defer { ended.finish() }
      try await listener.serveTerminals(onRefusal: { ended.yield(.failure($0)) }) { terminal in
        terminal.setSize(rows: 37, columns: 101)
        do {
          try await Relay(
            terminal, input: source.fileDescriptor,
            output: output.fileHandleForWriting.fileDescriptor
          ).run()
          ended.yield(.success(()))
        } catch { ended.yield(.failure(error)) }
      }
    }
    relayed = Task { try await ends.first { _ in true }?.get() }
  }

  func start(_ script: String) throws -> Process {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = ["timeout", "60", "python3", "-c", Self.sender, socket, script]
    try process.run()
    return process
  }

  /// What runc does, without a container.
  private static let sender = """
    import fcntl, os, socket, subprocess, sys, termios

    path, script = sys.argv[1:]
    master, slave = os.openpty()

    def begin():
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    child = subprocess.Popen(["/bin/sh", "-c", script], stdin=slave, stdout=slave, stderr=slave,
                             preexec_fn=begin)
    os.close(slave)
    with socket.socket(socket.AF_UNIX) as console:
        console.connect(path)
        socket.send_fds(console, [b"/dev/ptmx"], [master])
    os.close(master)
    status = child.wait()
    sys.exit(128 - status if status < 0 else status)
    """

  func printed(until text: String) throws -> String {
    var printed = ""
    while !printed.contains(text) {
      let more = output.fileHandleForReading.availableData
      try #require(!more.isEmpty)
      printed += String(decoding: more, as: UTF8.self)
    }
    return printed
  }

  func waitUntilOutputIsFull() {
    var state = pollfd(
      fd: output.fileHandleForWriting.fileDescriptor, events: Int16(POLLOUT), revents: 0)
    while unsafe poll(&state, 1, 0) == 1 { sched_yield() }
  }

  func end() async {
    server.cancel()
    _ = await server.result
    try? output.fileHandleForReading.close()
    try? output.fileHandleForWriting.close()
    try? input.fileHandleForReading.close()
    try? input.fileHandleForWriting.close()
  }
}

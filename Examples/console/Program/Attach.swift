// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Dispatch
import Foundation
import MessageSockets
import Synchronization

extension UnixListener where Connection == UnixStream {
  /// Listens for runtimes of this user.
  static func forTerminals(at path: String, on loop: IOLoop) throws -> UnixListener<UnixStream> {
    try .bind(to: UnixAddress(path: FilePath(path)), policy: Terminal.policy, on: loop)
  }
}

struct Attach: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Waits for one container's terminal, and connects this terminal to it.")

  @Option(help: "Where to listen: the argument of runc's --console-socket.") var socket: String

  func run() async throws {
    let loop = try IOLoop()
    let listener = try UnixListener.forTerminals(at: socket, on: loop)
    note("waiting at \(socket)")
    let isConnected = Atomic(false)
    let (ends, ended) = AsyncStream.makeStream(of: Result<Void, any Error>.self)
    let server = Task(executorPreference: loop.taskExecutor) {
      defer { ended.finish() }
      try await listener.serveTerminals(onRefusal: { note("a client was refused: \($0)") }) {
        terminal in
        guard !isConnected.exchange(true, ordering: .relaxed) else { throw Refusal.busy }
        do {
          try await Self.connect(terminal)
          ended.yield(.success(()))
        } catch { ended.yield(.failure(error)) }
      }
    }
    // The program's own terminal is restored then, too.
    let signals = [SIGTERM, SIGINT].map { number in
      _ = signal(number, SIG_IGN)
      let source = DispatchSource.makeSignalSource(signal: number)
      source.setEventHandler { ended.finish() }
      source.activate()
      return source
    }
    let result = await ends.first { _ in true }
    for source in signals { source.cancel() }
    server.cancel()
    try await server.value
    await loop.shutdown()
    try result?.get()
  }

  /// Connects standard input and output to a terminal until the container ends.
  private static func connect(_ terminal: Terminal) async throws {
    note("connected to \(terminal.name)")
    let own = OwnTerminal()
    own.giveSize(to: terminal)
    // By default the signal does nothing.
    let changes = DispatchSource.makeSignalSource(signal: SIGWINCH)
    changes.setEventHandler { own.giveSize(to: terminal) }
    changes.activate()
    defer { changes.cancel() }
    own.makeRaw()
    defer { own.restore() }
    try await Relay(terminal, input: STDIN_FILENO, output: STDOUT_FILENO).run()
  }
}

/// The terminal that the program runs on. Without one, nothing happens.
private final class OwnTerminal: Sendable {
  private let original = Mutex<termios?>(nil)

  func giveSize(to terminal: Terminal) {
    var size = winsize()
    // SAFETY: the kernel writes one `winsize`.
    guard unsafe ioctl(STDIN_FILENO, UInt(TIOCGWINSZ), &size) == 0 else { return }
    terminal.setSize(rows: size.ws_row, columns: size.ws_col)
  }

  /// Passes every key to the container: Ctrl-C, too.
  func makeRaw() {
    original.withLock { original in
      var settings = termios()
      // SAFETY: the C library reads and writes one `termios`.
      guard unsafe tcgetattr(STDIN_FILENO, &settings) == 0 else { return }
      original = settings
      unsafe cfmakeraw(&settings)
      _ = unsafe tcsetattr(STDIN_FILENO, TCSADRAIN, &settings)
    }
  }

  func restore() {
    original.withLock { original in
      guard var settings = original else { return }
      // SAFETY: the C library reads one `termios`.
      _ = unsafe tcsetattr(STDIN_FILENO, TCSADRAIN, &settings)
      original = nil
    }
  }
}

func note(_ line: String) { FileHandle.standardError.write(Data("console: \(line)\n".utf8)) }

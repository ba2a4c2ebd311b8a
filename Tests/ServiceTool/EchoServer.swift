// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets
import ServiceManagement
import SocketEngine
import Synchronization
import SystemPackage

/// An echo server that can be replaced. It prints its events, one per line. At the event named by
/// `KILL_AT` it kills itself; at the one named by `STOP_AT` it stops until it gets SIGCONT.
///
/// A client whose first line is "stay" keeps its connection, and may continue to ask. Each
/// successor gets the listeners, `EXTRA` files and `STATE` bytes, and after them the connections
/// that stay. `VERSION` is the version of the state. SIGTERM ends the server.
final class EchoServer: Sendable {
  private let control: UnixAddress
  private let path: UnixAddress
  private let killAt = variable("KILL_AT")
  private let stopAt = variable("STOP_AT")
  private let hasStopped = Atomic(false)
  private let extra = Int(variable("EXTRA") ?? "") ?? 0
  private let stateLength = Int(variable("STATE") ?? "") ?? 0
  private let version = UInt32(variable("VERSION") ?? "") ?? 0
  private let descriptors = TSanVisibleMutex(NamedDescriptors())
  private let state = TSanVisibleMutex<[UInt8]>([])
  private let sessions = Sessions()

  init(_ arguments: [String]) throws {
    control = try UnixAddress(path: FilePath(arguments[0]))
    path = try UnixAddress(path: FilePath(arguments[1]))
  }

  func run() async throws {
    _ = stopPipe
    signal(SIGTERM) { _ in _ = write(stopPipe.writeEnd.rawValue, "x", 1) }
    let handOver = try await HandOver.begin(
      at: control, stateVersion: version, limits: limits, observer: observe)
    let (web, local, inherited) = try await makeListeners(handOver)
    say(
      "pid \(getpid()) at \(web.address), \(handOver.isSuccessor ? "successor" : "first"), complete: \(handOver.isComplete)"
    )
    say("driver: \(try IOLoop.currentOrShared().driver.kind)")
    let running = Task {
      try await handOver.run(
        offering: { try await self.offer(web, local) }, takingBack: { await self.takeBack($0) }
      ) { announce in
        try await withThrowingDiscardingTaskGroup { group in
          group.addTask {
            try await web.serve(ServeLimits(maximumConnections: 256, gracePeriod: .seconds(20))) {
              try await self.answer($0, "session-web")
            }
          }
          group.addTask {
            try await local.serve(ServeLimits(maximumConnections: 256, gracePeriod: .seconds(20))) {
              try await self.answer($0, "session-local")
            }
          }
          for session in inherited { group.addTask { await self.sessions.serve(session) } }
          announce()
        }
        // The sessions that were taken back.
        await self.sessions.end()
      }
    }
    endAtSignal(running)
    say("ended: \(try await running.value)")
  }

  private var limits: HandOverLimits {
    var limits = HandOverLimits()
    if let step = variable("STEP_LIMIT").flatMap(Int.init) {
      limits.step = .milliseconds(step)
      limits.initialization = .milliseconds(step)
    }
    return limits
  }

  private func makeListeners(_ handOver: HandOver) async throws -> (
    TCPListener, UnixListener<UnixStream>, [Sessions.Inherited]
  ) {
    var inherited = handOver.takeInherited()
    // A predecessor that ended during the hand-over may have left out any part.
    let web: TCPListener
    do { web = try inherited.descriptors.takeListener(named: "web") } catch is ServiceError {
      let address = InternetAddress(
        .loopback as IPv4Address, port: UInt16(variable("PORT") ?? "") ?? 0)
      web = try await retrying { () throws(SocketError) in try .bind(to: address) }
    }
    let local: UnixListener<UnixStream>
    do { local = try inherited.descriptors.takeListener(named: "local") } catch is ServiceError {
      local = try await retrying { () throws(SocketError) in try .bind(to: path) }
    }
    let inheritedSessions = try Sessions.take(from: &inherited.descriptors)
    if handOver.isSuccessor {
      say("inherited sessions: \(inheritedSessions.count)")
      say(
        "inherited \(inherited.descriptors.count) files, \(inherited.state.count) bytes, intact: \(isIntact(inherited))"
      )
      state.withLock { $0 = inherited.state }
      descriptors.withLock { descriptors in swap(&descriptors, &inherited.descriptors) }
    } else {
      state.withLock { $0 = (0..<stateLength).map { UInt8(truncatingIfNeeded: $0 &* 31) } }
      try descriptors.withLock { descriptors in
        for number in 0..<extra {
          try descriptors.append(try numberedFile(number), named: "file-\(number)")
        }
      }
    }
    return (web, local, inheritedSessions)
  }

  /// The kernel releases a dead process's ring, and the listener in it, some time after the process
  /// has ended.
  private func retrying<Listener>(_ bind: () throws(SocketError) -> Listener) async throws
    -> Listener
  {
    for _ in 0..<500 {
      do throws(SocketError) {
        return try bind()
      } catch {
        guard error.code == .addressInUse else { throw error }
        try await IOLoop.currentOrShared().sleep(for: .milliseconds(10))
      }
    }
    return try bind()
  }

  private func isIntact(_ items: borrowing HandOverItems) -> Bool {
    guard items.state == (0..<items.state.count).map({ UInt8(truncatingIfNeeded: $0 &* 31) }) else {
      return false
    }
    let files = items.descriptors.span
    for index in files.indices {
      var bytes = [UInt8](repeating: 0, count: 16)
      let count = files[index].withUnsafeFileDescriptor { pread($0.rawValue, &bytes, 16, 0) }
      guard items.descriptors.names[index] == "file-\(index)",
        String(decoding: bytes[..<max(0, count)], as: UTF8.self) == "\(index)"
      else {
        return false
      }
    }
    return true
  }

  /// The files go with the offer, and come back if it fails.
  private func offer(_ web: TCPListener, _ local: UnixListener<UnixStream>) async throws
    -> HandOverItems
  {
    var items = HandOverItems()
    descriptors.withLock { swap(&items.descriptors, &$0) }
    items.state = state.withLock { $0 }
    try await items.descriptors.append(duplicateOf: web, named: "web")
    try await items.descriptors.append(duplicateOf: local, named: "local")
    items.descriptors.append(contentsOf: await sessions.giveAway())
    return items
  }

  private func takeBack(_ items: consuming HandOverItems) async {
    _ = try? items.descriptors.takeDescriptor(named: "web")
    _ = try? items.descriptors.takeDescriptor(named: "local")
    let sessions = (try? Sessions.take(from: &items.descriptors)) ?? []
    descriptors.withLock { swap(&$0, &items.descriptors) }
    say("taken back: \(descriptors.withLock { $0.count }) files, \(sessions.count) sessions")
    await withDiscardingTaskGroup { group in
      for session in sessions { group.addTask { await self.sessions.serve(session) } }
    }
  }

  private func observe(_ event: HandOverEvent) {
    let name = "\(event)"
    say("event: \(name)")
    if let killAt, name == killAt || name.hasPrefix(killAt + "(") { kill(getpid(), SIGKILL) }
    if name == stopAt, hasStopped.exchange(true, ordering: .relaxed) == false {
      kill(getpid(), SIGSTOP)
    }
  }

  /// - Parameter name: The name of the connection, if it stays.
  private func answer(_ connection: some StreamSocket, _ name: String) async throws {
    var line: [UInt8] = []
    for try await byte in connection.bytes {
      if byte == UInt8(ascii: "\n") { break }
      line.append(byte)
    }
    try await connection.sendMessage(Self.answer(to: line))
    if line == Array("stay".utf8) { await sessions.serve(connection, named: name) }
  }

  static func answer(to line: some Collection<UInt8>) -> [UInt8] {
    Array("\(getpid()) \(String(decoding: line, as: UTF8.self))\n".utf8)
  }
}

func variable(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }

/// A thread that waits until the signal handler writes to the pipe.
private func endAtSignal(_ task: Task<HandOver.Ending, any Error>) {
  var thread = pthread_t()
  pthread_create(
    &thread, nil,
    { context in
      var byte: UInt8 = 0
      _ = read(stopPipe.readEnd.rawValue, &byte, 1)
      Unmanaged<Canceller>.fromOpaque(context!).takeRetainedValue().task.cancel()
      return nil
    }, Unmanaged.passRetained(Canceller(task)).toOpaque())
  // The thread is never joined.
  pthread_detach(thread)
}

private let stopPipe = try! FileDescriptor.pipe(options: .closeOnExec)

private final class Canceller: Sendable {
  let task: Task<HandOver.Ending, any Error>
  init(_ task: Task<HandOver.Ending, any Error>) { self.task = task }
}

// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSocketsLifecycle
import MessageSocketsTesting
import SystemPackage
import Testing

enum ProcessID { static let own = getpid() }

/// The example's server, as a process, with this process as its service manager.
private final class Server {
  static let path: FilePath = {
    var target = [UInt8](repeating: 0, count: 4096)
    // SAFETY: the call writes to the array, which it does not keep.
    let length = unsafe readlink("/proc/self/exe", &target, target.count)
    let path = FilePath(String(decoding: target[..<max(0, length)], as: UTF8.self))
    return path.removingLastComponent().appending("graceful-service")
  }()

  let process: ServiceProcess
  private var isEnded = false

  init(_ arguments: [String], _ manager: NotifySocket, watchdog: Bool = false) throws {
    var command = ServiceCommand(Self.path, arguments: ["serve"] + arguments)
    command.environment["NOTIFY_SOCKET"] = manager.environmentValue
    if watchdog { command.environment["WATCHDOG_USEC"] = "100000" }
    process = try command.start()
  }

  deinit { if !isEnded { try? process.signal(SIGKILL) } }

  func end() async throws -> ServiceProcess.Ending {
    let ending = try await process.end()
    isEnded = true
    return ending
  }

  /// The descriptors that it has open.
  var descriptorCount: Int {
    var count = -2
    guard let directory = unsafe opendir("/proc/\(process.processID)/fd") else { return -1 }
    defer { unsafe closedir(directory) }
    while unsafe readdir(directory) != nil { count += 1 }
    return count
  }
}

private func exists(_ path: String) -> Bool { unsafe access(path, F_OK) == 0 }

private func withTemporaryDirectory(_ body: (String) async throws -> Void) async throws {
  var template = Array("/tmp/lifecycle-XXXXXX".utf8CString)
  // SAFETY: the call writes to the array, which it does not keep.
  let isMade = unsafe template.withUnsafeMutableBufferPointer {
    unsafe mkdtemp($0.baseAddress!) != nil
  }
  try #require(isMade)
  let path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  defer {
    for name in ["echo", "control"] { unsafe unlink(path + "/" + name) }
    unsafe rmdir(path)
  }
  try await body(path)
}

extension NotifySocket {
  /// Waits for a message, and drops those before it.
  fileprivate func wait(for isIt: (ServiceNotification) -> Bool) async throws {
    while true { if isIt(try await receive()) { return } }
  }
}

extension LifecycleTests {
  /// Real processes, and real signals.
  @Suite struct ProcessTests {
    @Test func aServiceFromReadyToStopping() async throws {
      try await withTemporaryDirectory { directory in
        try await withDescriptorCheck {
          let manager = try await NotifySocket.bind(to: uniqueAddress("manager"))
          let address = try UnixAddress(path: FilePath(directory + "/echo"))
          let server = try Server(["\(address)"], manager, watchdog: true)
          try await manager.wait { $0.isReady && $0.status == "listening on \(address)" }
          for count in 1...2 {
            try server.process.signal(SIGHUP)
            try await manager.wait { $0.isReloading }
            try await manager.wait { $0.status == "reloaded \(count)" }
            try await manager.wait { $0.isReady }
          }
          // One connection first, for what is opened once.
          let idle = try await UnixSeqpacket.connect(to: address)
          let text = "\(server.process.processID) hello"
          #expect(try await idle.ask("hello") == text)
          let before = server.descriptorCount
          for _ in 0..<20 {
            let client = try await UnixSeqpacket.connect(to: address)
            #expect(try await client.ask("hello") == text)
            await client.close()
          }
          // Each round gives the server time to see that its clients have left.
          var rounds = 0
          while server.descriptorCount > before, rounds < 10_000 {
            #expect(try await idle.ask("hello") == text)
            rounds += 1
          }
          #expect(server.descriptorCount <= before)

          let busy = try await UnixSeqpacket.connect(to: address)
          #expect(try await busy.ask("hold") == "held")
          try server.process.signal(SIGTERM)
          try await manager.wait { $0.isStopping }
          #expect(try await idle.receiveText() == nil)
          // The watchdog is fed until the last answer.
          for _ in 0..<3 { try await manager.wait { $0.isWatchdog } }
          #expect(try await busy.ask("done") == "\(server.process.processID) done")
          #expect(try await busy.receiveText() == nil)
          #expect(try await server.end() == .exited(0))
          // The listener has removed its file.
          #expect(!exists(directory + "/echo"))
          for client in [idle, busy] { await client.close() }
          await manager.close()
        }
      }
    }

    /// Three generations; the manager is told who is the main process, and of the last end only.
    @Test func aSuccessorTakesOver() async throws {
      try await withTemporaryDirectory { directory in
        try await withDescriptorCheck {
          let manager = try await NotifySocket.bind(to: uniqueAddress("generations"))
          let address = try UnixAddress(path: FilePath(directory + "/echo"))
          let arguments = ["\(address)", directory + "/control"]
          var server = try Server(arguments, manager)
          try await Self.isMain(server, manager)
          for _ in 0..<2 {
            let predecessor = server
            let idle = try await UnixSeqpacket.connect(to: address)
            #expect(try await idle.ask("hello") == "\(predecessor.process.processID) hello")
            let busy = try await UnixSeqpacket.connect(to: address)
            #expect(try await busy.ask("hold") == "held")

            server = try Server(arguments, manager)
            try await Self.isMain(server, manager)
            // The predecessor answers what it has begun, and ends.
            #expect(try await idle.receiveText() == nil)
            let new = try await UnixSeqpacket.connect(to: address)
            #expect(try await new.ask("hello") == "\(server.process.processID) hello")
            #expect(try await busy.ask("done") == "\(predecessor.process.processID) done")
            #expect(try await predecessor.end() == .exited(0))
            for client in [idle, busy, new] { await client.close() }
          }
          try server.process.signal(SIGTERM)
          let last = try await manager.receive()
          #expect(last.isStopping, "\(last.fields)")
          #expect(last.sender.processID == server.process.processID)
          #expect(try await server.end() == .exited(0))
          #expect(!exists(directory + "/echo"))
          #expect(!exists(directory + "/control"))
          await manager.close()
        }
      }
    }

    private static func isMain(_ server: Server, _ manager: NotifySocket) async throws {
      do {
        let notification = try await manager.receive()
        #expect(notification.isReady && !notification.isStopping)
        #expect(notification["MAINPID"] == "\(server.process.processID)")
      }
      #expect(try await manager.receive().isBarrier)
    }

    /// A process that gets SIGTERM while a successor is served, and one that is killed.
    @Test func aPredecessorThatIsKilled() async throws {
      try await withTemporaryDirectory { directory in
        try await withDescriptorCheck {
          let manager = try await NotifySocket.bind(to: uniqueAddress("killed"))
          let address = try UnixAddress(path: FilePath(directory + "/echo"))
          let arguments = ["\(address)", directory + "/control"]
          let first = try Server(arguments, manager)
          try await Self.isMain(first, manager)
          let client = try await UnixSeqpacket.connect(to: address)
          #expect(try await client.ask("hello") == "\(first.process.processID) hello")
          try first.process.signal(SIGKILL)
          #expect(try await first.end() == .signalled(SIGKILL))
          #expect(try await client.receiveText() == nil)
          // The next one finds stale files, and serves.
          let second = try Server(arguments, manager)
          try await Self.isMain(second, manager)
          try second.process.signal(SIGTERM)
          #expect(try await second.end() == .exited(0))
          await client.close()
          await manager.close()
        }
      }
    }
  }
}

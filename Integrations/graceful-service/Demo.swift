// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSocketsLifecycle
import SystemPackage

/// A service manager, and clients of the server that it starts.
struct Demo {
  func run() async throws {
    let directory = try Self.temporaryDirectory()
    defer { unsafe rmdir(directory) }
    let address = try UnixAddress(path: FilePath(directory + "/echo"))
    let manager = try await NotifySocket.bind(
      to: UnixAddress(path: FilePath(directory + "/notify")))
    var command = ServiceCommand("/proc/self/exe", arguments: ["serve", "\(address)"])
    command.environment["NOTIFY_SOCKET"] = manager.environmentValue
    command.environment["WATCHDOG_USEC"] = "100000"
    let process = try command.start()
    do {
      try await check(process, manager, address)
    } catch {
      // A process that does as it should has ended by now.
      try? process.signal(SIGKILL)
      _ = try? await process.end()
      throw error
    }
    await manager.close()
    print("ok: the idle connection ended, the busy one was answered, the process has exited with 0")
  }

  private func check(
    _ process: ServiceProcess, _ manager: NotifySocket, _ address: UnixAddress
  ) async throws {
    try await manager.wait(for: "ready") { $0.isReady }
    try process.signal(SIGHUP)
    try await manager.wait(for: "reloading") { $0.isReloading }
    try await manager.wait(for: "ready") { $0.isReady }

    let idle = try await UnixSeqpacket.connect(to: address)
    guard try await idle.ask("hello") == "\(process.processID) hello" else { throw Failure() }
    let busy = try await UnixSeqpacket.connect(to: address)
    guard try await busy.ask("hold") == "held" else { throw Failure() }

    try process.signal(SIGTERM)
    try await manager.wait(for: "stopping") { $0.isStopping }
    guard try await idle.receiveMessage(deadline: .now + .seconds(30)) == nil else {
      throw Failure()
    }
    // It is watched until the last answer.
    try await manager.wait(for: "alive") { $0.isWatchdog }
    guard try await busy.ask("done") == "\(process.processID) done" else { throw Failure() }
    guard try await process.end() == .exited(0) else { throw Failure() }
    await idle.close()
    await busy.close()
  }

  private static func temporaryDirectory() throws -> String {
    var template = Array("/tmp/graceful-service-XXXXXX".utf8CString)
    // SAFETY: the call writes to the array, which it does not keep.
    let isMade = unsafe template.withUnsafeMutableBufferPointer {
      unsafe mkdtemp($0.baseAddress!) != nil
    }
    guard isMade else { throw Failure() }
    return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
}

struct Failure: Error {}

extension NotifySocket {
  /// Waits for a message of the service, and drops those before it.
  func wait(for name: String, _ isIt: (ServiceNotification) -> Bool) async throws {
    while true {
      let notification = try await receive()
      if isIt(notification) { break }
    }
    print("the service is \(name)")
  }
}

extension UnixSeqpacket {
  nonisolated func ask(_ question: String) async throws -> String? {
    try await sendMessage(Array(question.utf8))
    return try await receiveMessage(deadline: .now + .seconds(30)).map {
      String(decoding: $0.payload, as: UTF8.self)
    }
  }
}

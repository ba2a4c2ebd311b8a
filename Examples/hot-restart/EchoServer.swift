// SPDX-License-Identifier: Apache-2.0
import Foundation
import Logging
import MessageSockets
import ServiceLifecycle
import ServiceManagement

/// Answers each connection's line with the process ID and the line, until a successor takes over.
struct EchoServer: Service {
  let handOver: HandOver
  let listener: TCPListener
  let manager: ServiceNotifier
  let logger: Logger

  /// When the program is asked to stop, or a successor serves, the server accepts no more
  /// connections; questions that have arrived are answered.
  func run() async throws {
    try await cancelWhenGracefulShutdown {
      _ = try await handOver.run {
        var items = HandOverItems()
        try await items.descriptors.append(duplicateOf: listener, named: "echo")
        return items
      } serving: { announce in
        try await withThrowingDiscardingTaskGroup { group in
          group.addTask { try await manager.keepAlive() }
          await tellManager()
          // The previous process then accepts no more connections, and ends: no call that may fail
          // or wait may come between this one and the call that accepts.
          announce()
          try await listener.serve(ServeLimits(maximumConnections: 1024), handler: answer)
          group.cancelAll()
        }
      }
    }
  }

  /// Announces that this is now the service's process. The manager has to know before the previous
  /// main process ends; if it cannot be told, the server serves nevertheless.
  private func tellManager() async {
    let deadline = Deadline.now + .seconds(2)
    do {
      try await manager.notify(
        .ready, .mainProcess(getpid()), .status("listening on \(listener.address)"),
        deadline: deadline)
      try await manager.barrier(deadline: deadline)
    } catch {
      logger.error("the service manager does not know that this process serves: \(error)")
    }
  }

  private func answer(_ connection: TCPStream) async throws {
    var line: [UInt8] = []
    // Not `untilDraining()`, because the question of a connection that was just accepted may still
    // be in flight.
    for try await byte in connection.bytes {
      if byte == UInt8(ascii: "\n") {
        try await connection.sendMessage(
          Array("\(getpid()) \(String(decoding: line, as: UTF8.self))\n".utf8))
        return
      }
      line.append(byte)
    }
  }
}

// SPDX-License-Identifier: Apache-2.0
import Foundation
import Logging
import ServiceLifecycle
import ServiceManagement
import UnixSignals
import SystemPackage

/// Starts a successor of this process when SIGHUP comes: `systemctl reload`.
struct Reloader: Service {
  let arguments: [String]
  let logger: Logger

  func run() async throws {
    let signals = await UnixSignalsSequence(trapping: .sighup)
    logger.info("SIGHUP starts a successor")
    for await _ in signals.cancelOnGracefulShutdown() {
      do {
        var command = ServiceCommand(try program(), arguments: arguments)
        // The successor tells our manager that it is ready.
        command.environment["NOTIFY_SOCKET"] = ProcessInfo.processInfo.environment["NOTIFY_SOCKET"]
        // And that it is alive, if the unit has WatchdogSec=.
        command.environment["WATCHDOG_USEC"] = ProcessInfo.processInfo.environment["WATCHDOG_USEC"]
        let successor = try command.start()
        logger.info("started \(successor.processID)")
        // Whether it fails, or serves and outlives us.
        Task {
          let ending = try await successor.end()
          logger.info("\(successor.processID) has \(ending)")
        }
      } catch {
        logger.error("no successor was started: \(error)")
      }
    }
  }

  /// What stands at the path of this program now.
  private func program() throws -> FilePath {
    let path = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
    // So the kernel marks a file that was replaced.
    return FilePath(path.hasSuffix(" (deleted)") ? String(path.dropLast(" (deleted)".count)) : path)
  }
}

// SPDX-License-Identifier: Apache-2.0
import Foundation
import Logging
import ServiceLifecycle
import ServiceManagement
import UnixSignals
import SystemPackage

/// Starts a successor of this process on SIGHUP: `systemctl reload`.
struct Reloader: Service {
  let arguments: [String]
  let logger: Logger

  func run() async throws {
    let signals = await UnixSignalsSequence(trapping: .sighup)
    logger.info("SIGHUP starts a successor")
    for await _ in signals.cancelOnGracefulShutdown() {
      do {
        var command = ServiceCommand(try program(), arguments: arguments)
        // The successor tells our manager that it is ready,
        command.environment["NOTIFY_SOCKET"] = ProcessInfo.processInfo.environment["NOTIFY_SOCKET"]
        // and that it is alive, if the unit has WatchdogSec=.
        command.environment["WATCHDOG_USEC"] = ProcessInfo.processInfo.environment["WATCHDOG_USEC"]
        let successor = try command.start()
        logger.info("started \(successor.processID)")
        // Reports its end, whether it fails now or serves until later.
        Task {
          let ending = try await successor.end()
          logger.info("\(successor.processID) has \(ending)")
        }
      } catch {
        logger.error("no successor was started: \(error)")
      }
    }
  }

  /// The program that is now at this program's path.
  private func program() throws -> FilePath {
    let path = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
    // This is how the kernel marks a file that was replaced.
    return FilePath(path.hasSuffix(" (deleted)") ? String(path.dropLast(" (deleted)".count)) : path)
  }
}

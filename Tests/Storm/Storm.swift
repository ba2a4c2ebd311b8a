// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets

/// `make storm`: many sockets, and all ways to cancel, close and shut them down. See
/// ``Options/help``.
@main
enum Storm {
  static func main() async {
    guard var options = Options(CommandLine.arguments.dropFirst()) else {
      print(Options.help)
      exit(CommandLine.arguments.dropFirst() == ["--help"] ? 0 : 2)
    }
    // Each connection needs two sockets, the files that are being sent, and those in flight in both
    // directions.
    options.lines = min(options.lines, DescriptorLimit.raise() / 16)
    // Lets the runtime open its own event descriptors, which stay.
    try? await Task.sleep(for: .milliseconds(1))
    report("Seed \(options.seed)")
    var violations: [String] = []
    for driver in options.drivers {
      do {
        violations += try await Run(
          driver: driver, options: options, duration: options.duration / options.drivers.count
        ).run()
      } catch let error as SocketError where error.code == .ioUringUnavailable {
        report("\(driver): SKIPPED, \(error)")
      } catch {
        violations.append("\(driver): \(error)")
      }
    }
    for violation in violations { report("VIOLATION: \(violation)") }
    report(
      violations.isEmpty
        ? "Nothing was lost, doubled, reordered or left open."
        : "Replay with --seed \(options.seed)")
    exit(violations.isEmpty ? 0 : 1)
  }
}

/// Prints a line without buffering, even to a pipe.
func report(_ line: String) {
  print(line)
  fflush(nil)
}

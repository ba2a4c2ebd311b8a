// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets

/// `make storm`: many sockets, and everything that can be cancelled, closed or shut down. See
/// ``Options/help``.
@main
enum Storm {
  static func main() async {
    guard var options = Options(CommandLine.arguments.dropFirst()) else {
      print(Options.help)
      exit(CommandLine.arguments.dropFirst() == ["--help"] ? 0 : 2)
    }
    // For each connection two sockets, the files that are being sent, and those that are on their
    // way in and out.
    options.lines = min(options.lines, DescriptorLimit.raise() / 16)
    // The runtime's own event descriptors, which stay.
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

/// Prints a line at once, also into a pipe.
func report(_ line: String) {
  print(line)
  fflush(nil)
}

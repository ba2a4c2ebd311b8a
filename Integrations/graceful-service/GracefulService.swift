// SPDX-License-Identifier: Apache-2.0
import MessageSockets

/// A server under a service manager, made of ready services.
@main
struct GracefulService {
  static func main() async throws {
    let arguments = CommandLine.arguments.dropFirst()
    switch (arguments.first, arguments.count) {
    case (nil, _), ("demo", 1): try await Demo().run()
    case ("serve", 2): try await Serve(socket: arguments[2]).run()
    case ("serve", 3): try await Serve(socket: arguments[2], control: arguments[3]).run()
    default: throw Usage()
    }
  }
}

struct Usage: Error, CustomStringConvertible {
  var description: String { "usage: graceful-service [demo | serve SOCKET [CONTROL]]" }
}

// SPDX-License-Identifier: Apache-2.0
import MessageSockets

/// The options of the command line.
struct Options {
  /// The duration for all drivers together.
  var duration = Duration.seconds(60)
  var seed = UInt64.random(in: 1...UInt64(Int64.max))
  /// The number of concurrent connections, each with two sockets.
  var lines = 1000
  /// Whether every kind of event must have occurred; if not, the storm has proved too little.
  var isThorough = true
  var drivers: [IOLoop.DriverChoice] = [.ioUring, .epoll]

  static let help = """
    usage: Storm [--duration SECONDS] [--seed NUMBER] [--lines COUNT]
                 [--driver io_uring|epoll] [--brief yes]

    Sends numbered messages and descriptors over COUNT (1000) connections at a time, on all
    loops of a group and on loops that are shut down meanwhile, and cancels, expires, leaves,
    closes and drops at random; for SECONDS (60), on both drivers one after the other. Then it
    compares: each message exactly once and in order, or still in its socket; each descriptor
    with its message; no descriptor open that was not before. The seed (random) determines what
    each connection does; when it happens is up to the machine. With --brief yes it is no fault
    if something that can happen has not, as on a slow machine.
    """

  /// Nil if help was asked for, or an option is invalid.
  init?(_ arguments: some Sequence<String>) {
    var arguments = Array(arguments)[...]
    while let name = arguments.popFirst() {
      guard let value = arguments.popFirst() else { return nil }
      switch name {
      case "--duration":
        guard let seconds = Int(value), seconds > 0 else { return nil }
        duration = .seconds(seconds)
      case "--seed":
        guard let number = UInt64(value) else { return nil }
        seed = number
      case "--lines":
        guard let count = Int(value), count > 0 else { return nil }
        lines = count
      case "--brief":
        guard value == "yes" else { return nil }
        isThorough = false
      case "--driver":
        switch value {
        case "io_uring": drivers = [.ioUring]
        case "epoll": drivers = [.epoll]
        default: return nil
        }
      default: return nil
      }
    }
  }
}

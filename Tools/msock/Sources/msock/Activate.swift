// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import MessageSockets

struct Activate: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Binds listeners, and becomes a program that finds them open.",
    discussion: """
      As systemd's socket activation: the listeners are the descriptors from 3 on, LISTEN_FDS \
      says how many, LISTEN_FDNAMES how they are called, LISTEN_PID for which process. The \
      program starts immediately, in this process. A socket's file stays when the program ends; a \
      file whose socket is dead is replaced. Beside Unix addresses there is tcp:ADDRESS:PORT, \
      with an IPv6 address in brackets:

        msock activate --listen /run/app.sock:api --listen tcp:127.0.0.1:8080:web -- app
      """
  )

  @Option(
    help: ArgumentHelp(
      "Where to listen; may be repeated. What follows the last colon is the listener's name.",
      valueName: "address[:name]"),
    completion: .file())
  var listen: [String]

  @OptionGroup var socket: SocketOptions

  @Argument(parsing: .postTerminator, help: "The program and its arguments, behind '--'.")
  var program: [String]

  func run() async throws {
    try await reportingFailures {
      let places = try listen.map { try ListeningPlace($0) }
      let loop = try IOLoop()
      var listeners = OwnedFds()
      var bound: [ListeningPlace] = []
      do {
        for place in places {
          listeners.append(try await place.bind(seqpacket: socket.seqpacket, on: loop))
          bound.append(place)
        }
        await loop.shutdown()
        try Program(words: program, names: places.map(\.name)).become(listeners)
      } catch {
        // Nothing listens there now.
        for place in bound { place.removeFile() }
        throw error
      }
    }
  }
}

// SPDX-License-Identifier: Apache-2.0
import ArgumentParser

@main
struct Msock: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "msock",
    abstract: "Passes open files between processes, and shows what is passed.",
    discussion: """
      An ADDRESS is a path, or @NAME for an abstract address. Sockets are streams unless \
      --seqpacket is given.

      Exit status: 0 done; 1 the answer is no; 64 wrong usage; 65 what came, or is to be sent, \
      is not admitted, or no holder or Varlink service is there; 66 no such file or address; 69 no process listens there, or the peer has \
      gone; 71 the system refused; 73 the address cannot be bound; 74 output cannot be \
      written; 75 the time is up; 77 not permitted; 126, 127 the program cannot be run, or is \
      not there. A program that is run with --exec passes its own status on.
      """,
    subcommands: [
      Send.self, Receive.self, Activate.self, Hold.self, Call.self, Who.self, Inspect.self,
      Notify.self,
      ShowDriver.self,
    ]
  )
}

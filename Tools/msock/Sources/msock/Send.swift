// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import MessageSockets

struct Send: LoopCommand {
  static let configuration = CommandConfiguration(
    abstract: "Sends open files in one message.",
    discussion: """
      The message is the files' names, one a line, unless --message says otherwise. Files are \
      opened for reading; '-' is standard input. --fd sends a descriptor as it is, with all \
      its rights:

        msock send --to @desk --fd 5 5<>/tmp/shared
      """
  )

  @Argument(help: "The files, at most 253.", completion: .file())
  var files: [String] = []

  @Option(help: ArgumentHelp("Where to connect to.", valueName: "address"), completion: .file())
  var to: String

  @Option(
    help: ArgumentHelp(
      "Also send this descriptor of the process; may be repeated.", valueName: "number"))
  var fd: [Int32] = []

  @Option(help: ArgumentHelp("The message's text.", valueName: "text"))
  var message: String?

  @Flag(help: "Print the peer's answer, until it closes.")
  var answer = false

  @OptionGroup var socket: SocketOptions
  @OptionGroup var limits: Limits

  func validate() throws {
    if files.isEmpty, fd.isEmpty, message == nil {
      throw ValidationError("nothing to send: name a file, --fd or --message")
    }
  }

  func run(on loop: IOLoop) async throws {
    let address = try UnixAddress(argument: to)
    let text = message ?? (files + fd.map { "fd:\($0)" }).joined(separator: "\n")
    guard !text.isEmpty || !files.isEmpty || !fd.isEmpty else {
      throw Failure(
        .notAdmitted,
        "an empty message without a file would not be seen; give --message a text, or name a file")
    }
    let opened = try await Files.openInBackground(files, numbers: fd)
    let connection: Connection
    do {
      connection = try await .connect(to: address, seqpacket: socket.seqpacket, on: loop)
    } catch let error as SocketError where error.code == .wrongSocketKind {
      throw Failure(
        .unavailable, "\(error); try it \(otherKind)")
    } catch let error as SocketError where error.code == .connectionRefused && to.hasPrefix("@") {
      // At an abstract address, the kernel also gives this answer if the socket is of another kind.
      throw Failure(.unavailable, "\(error); if one does, try it \(otherKind)")
    }
    try await connection.send(Array(text.utf8), descriptors: opened)
    if answer {
      try await connection.endSending()
      while let message = try await connection.receive() { try Console.write(message.payload) }
    }
    await connection.close()
  }

  private var otherKind: String { socket.seqpacket ? "without --seqpacket" : "with --seqpacket" }
}

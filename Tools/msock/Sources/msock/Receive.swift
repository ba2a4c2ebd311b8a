// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import MessageSockets
import SharedMemory

struct Receive: LoopCommand {
  static let configuration = CommandConfiguration(
    abstract: "Waits for messages at an address, and shows or uses what comes.",
    discussion: """
      Without --cat and --exec each message is described: its text, and the kind, the access, \
      the seals and the target of each descriptor. The shell command of --exec finds the \
      message's text on its standard input, and the descriptors from 3 on ($LISTEN_FDS of \
      them). $MSOCK_MESSAGE is the text's first 32 KiB, without NULs, and with U+FFFD for what \
      is not UTF-8:

        msock receive @desk --exec 'sha256sum <&3'

      A message that cannot be used (the command fails, a descriptor cannot be read, the message \
      is longer than 64 KiB) is reported, and the next one is waited for. At the end the status \
      is that of the last one that could not be used, and 0 if there was none. Peers are served \
      one after the other. On a stream a peer sends one message, which ends when it closes or \
      shuts its sending side down; with --seqpacket it may send several.

      Only processes of the same user, and root, may connect.
      """
  )

  @Argument(help: "Where to listen.", completion: .file())
  var address: String

  @Option(help: ArgumentHelp("Stop after so many messages; 0 for never.", valueName: "number"))
  var count = 1

  @Option(help: ArgumentHelp("Run this shell command for each message.", valueName: "command"))
  var exec: String?

  @Flag(help: "Copy the contents of the descriptors to standard output.")
  var cat = false

  @OptionGroup var progress: ProgressOption

  @Flag(help: "Describe each message as one line of JSON.")
  var json = false

  @OptionGroup var socket: SocketOptions
  @OptionGroup var limits: Limits

  func validate() throws {
    if count < 0 { throw ValidationError("a number of messages is not negative") }
    if [exec != nil, cat, json].filter({ $0 }).count > 1 {
      throw ValidationError("--exec, --cat and --json exclude each other")
    }
  }

  func run(on loop: IOLoop) async throws {
    let listener = try Listener.bind(
      to: try UnixAddress(argument: address), seqpacket: socket.seqpacket, on: loop)
    Console.note("listening on \(address)")
    var left = count == 0 ? Int.max : count
    var status: ExitCode?
    while left > 0 {
      let connection = try await listener.accept()
      do {
        while left > 0 {
          do {
            guard let message = try await connection.receiveWhole() else { break }
            try await take(message)
          } catch {
            status = try passOver(error)
          }
          left -= 1
          // A stream carries one message, whether it could be used or not.
          if !socket.seqpacket { break }
        }
      } catch let error as SocketError where error.code != .deadlineExceeded {
        // A peer that disconnects is no reason to stop.
        Console.note("a peer: \(error)")
      }
      await connection.close()
    }
    await listener.close()
    if let status { throw status }
  }

  /// Reports a message that could not be used; returns its status.
  ///
  /// - Throws: `error`, if it does not concern a single message.
  private func passOver(_ error: any Error) throws -> ExitCode {
    switch error {
    case let status as ExitCode:
      // If there is a single command, the status is sufficient.
      if count != 1 { Console.note("receive: the command ended with status \(status.rawValue)") }
      return status
    case is CancellationError: throw error
    case let error as SocketError
    where error.code != .messageIncomplete && error.code != .policyViolated:
      throw error
    default:
      let failure = Failure(error)
      // The next message would have no other standard output.
      guard failure.status != .cannotWrite else { throw error }
      Console.note("receive: \(failure.text)")
      return failure.status
    }
  }

  private func take(_ message: consuming WholeMessage) async throws {
    let text = message.text
    var files = message.files
    if let exec {
      let program = Program(
        words: ["sh", "-c", exec], names: (0..<files.count).map { _ in "received" },
        variables: ["MSOCK_MESSAGE": Self.variable(text)])
      // SAFETY: a byte array has no padding.
      let input = try SealedMemory(copying: unsafe text.span.bytes, name: "message")
      let status = try await program.run(files, input: input.descriptor)
      if status != 0 { throw ExitCode(status) }
    } else if cat {
      try await Files.copyToOutput(files, progress)
    } else {
      var descriptions: [Description] = []
      while let file = files.takeFirst() { descriptions.append(Description(file)) }
      try show(text, descriptions)
    }
  }

  /// The kernel accepts 128 KiB for a variable, and each invalid byte becomes three bytes of UTF-8.
  private static func variable(_ text: [UInt8]) -> String {
    String(decoding: text.prefix(32 << 10).filter { $0 != 0 }, as: UTF8.self)
  }

  private struct Shown: Encodable {
    let message: String
    let bytes: Int
    let descriptors: [Description]
  }

  private func show(_ bytes: [UInt8], _ descriptors: [Description]) throws {
    let text = String(decoding: bytes, as: UTF8.self)
    if json {
      return try Console.sayJSON(Shown(message: text, bytes: bytes.count, descriptors: descriptors))
    }
    try Console.say("message: \(text.debugDescription)")
    for (index, descriptor) in descriptors.enumerated() {
      try Console.say("\(index): \(descriptor.line)")
    }
  }
}

// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Glibc
import MessageSockets

/// A table of descriptors in a separate process, and its clients.
struct Hold: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Keeps descriptors for others, by name.",
    discussion: """
      What is stored stays open when the process that stored it ends, so that a service can be \
      restarted without losing its listeners:

        msock hold /run/held &
        msock hold store /run/held api --fd 3 3<>FILE
        msock hold list /run/held
        msock hold take /run/held api -- app

      Only processes of the same user, and root, may ask.
      """,
    subcommands: [Serve.self, Store.self, List.self, Take.self],
    defaultSubcommand: Serve.self
  )
}

extension Hold {
  struct Serve: LoopCommand {
    static let configuration = CommandConfiguration(
      abstract: "Keeps descriptors until SIGTERM or SIGINT.",
      discussion: """
        Prints a line on standard error when it can be asked, and for each name that is stored or \
        taken. What a client takes stays held, under its name and within the limit, until the \
        client has confirmed that it has it, for 10 seconds at most. With --timeout it ends with \
        status 75 when the time is up.
        """)

    @Argument(help: "Where to listen.", completion: .file())
    var address: String

    @Option(help: ArgumentHelp("How many descriptors to keep, all together.", valueName: "number"))
    var limit = 512

    @OptionGroup var limits: Limits

    func validate() throws {
      if limit < 1 { throw ValidationError("a holder keeps at least one descriptor") }
    }

    func run(on loop: IOLoop) async throws {
      let address = try UnixAddress(argument: address)
      let signals = await StopSignals()
      defer { signals.cancel() }
      let listener: UnixListener<UnixSeqpacket>
      do throws(SocketError) {
        listener = try .bind(to: address, policy: HeldTable.policy, on: loop)
      } catch {
        throw Failure(error.code == .notPermitted ? .notPermitted : .cannotBind, "\(error)")
      }
      // The reader of standard error may end; the descriptors remain held.
      _ = signal(SIGPIPE, SIG_IGN)
      let table = HeldTable(limit: limit)
      Console.note("holding at \(address)")
      // The first to end, the signal or the server, ends the other.
      let isTold = try await withThrowingTaskGroup(of: Bool.self) { group in
        group.addTask {
          // The descriptors close with the holder, which does not wait for silent clients.
          try await listener.serve(
            ServeLimits(gracePeriod: .zero),
            onError: { Console.note("a client: \($0)") }, handler: { try await table.answer($0) })
          return false
        }
        let arrivals = signals.arrivals
        group.addTask {
          for await _ in arrivals { return true }
          return false
        }
        defer { group.cancelAll() }
        return try await group.next() ?? false
      }
      await listener.close()
      guard isTold else { throw Failure(.timeIsUp, "the time is up") }
    }
  }

  struct Store: LoopCommand {
    static let configuration = CommandConfiguration(abstract: "Stores descriptors under a name.")

    @Argument(help: "Where the holder listens.", completion: .file())
    var address: String

    @Argument(help: "The name, which must be free.")
    var name: String

    @Argument(help: "Files to open for reading.", completion: .file())
    var files: [String] = []

    @Option(
      help: ArgumentHelp("A descriptor of the process; may be repeated.", valueName: "number"))
    var fd: [Int32] = []

    @OptionGroup var limits: Limits

    func validate() throws {
      if files.isEmpty, fd.isEmpty {
        throw ValidationError("nothing to store: name a file or --fd")
      }
      if !HoldRequest.isName(name) {
        throw ValidationError("a name has 1 to 255 printable characters of ASCII, and no colon")
      }
    }

    func run(on loop: IOLoop) async throws {
      let opened = try await Files.openInBackground(files, numbers: fd)
      let holder = try await HoldClient(address, on: loop)
      _ = try await holder.ask(
        HoldRequest(operation: .store, name: name), descriptors: opened)
      await holder.close()
    }
  }

  struct List: LoopCommand {
    static let configuration = CommandConfiguration(abstract: "Shows what is held.")

    @Argument(help: "Where the holder listens.", completion: .file())
    var address: String

    @Flag(help: "Print one line of JSON.")
    var json = false

    @OptionGroup var limits: Limits

    func run(on loop: IOLoop) async throws {
      let holder = try await HoldClient(address, on: loop)
      let entries = try await holder.list()
      if json {
        try Console.sayJSON(entries)
      } else {
        try Console.sayTable(
          [["NAME"] + Description.header.dropFirst()]
            + entries.flatMap { entry in entry.descriptors.map { [entry.name] + $0.row.dropFirst() }
            })
      }
      await holder.close()
    }
  }

  struct Take: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Takes descriptors that are held, and becomes a program that finds them open.",
      discussion: """
        The program finds them from 3 on, as with 'msock activate'. If it cannot be run, the \
        holder keeps them. Without a program and without --cat they are closed.
        """)

    @Argument(help: "Where the holder listens.", completion: .file())
    var address: String

    @Argument(help: "The name.")
    var name: String

    @Flag(help: "Copy their contents to standard output.")
    var cat = false

    @OptionGroup var progress: ProgressOption

    @Argument(parsing: .postTerminator, help: "The program and its arguments, behind '--'.")
    var program: [String] = []

    @OptionGroup var limits: Limits

    func validate() throws {
      if cat, !program.isEmpty { throw ValidationError("--cat and a program exclude each other") }
    }

    func run() async throws {
      try await reportingFailures {
        // A parsed command never changes, and is passed to one task.
        let command = UncheckedBox(self)
        let taken = try await limits.onLoop { try await command.value.take(on: $0) }
        if !program.isEmpty { try become(taken.take()) }
      }
    }

    /// Takes the descriptors. If there is a program, the connection to the holder follows them.
    private func take(on loop: IOLoop) async throws -> FilesInTransit {
      let holder = try await HoldClient(address, on: loop)
      var files = try await holder.take(name)
      if program.isEmpty {
        // From here on the holder no longer has them.
        try await holder.acknowledge()
        await holder.close()
        if cat { try await Files.copyToOutput(files, progress) }
        return FilesInTransit(OwnedFds())
      }
      files.append(try await holder.release())
      return FilesInTransit(files)
    }

    /// Becomes the program. That closes the connection, and from then on the holder no longer has
    /// the descriptors. There is no loop left whose descriptors the program's could replace.
    private func become(_ taken: consuming OwnedFds) throws {
      guard let connection = taken.takeLast() else { return }
      let program = Program(
        words: program, names: Array(repeating: name, count: taken.count))
      // Not at a number that the program's descriptors get.
      let holder = try connection.withUnsafeFileDescriptor {
        try Files.duplicate($0.rawValue, from: Int32(3 + taken.count))
      }
      try HoldClient.say(.becoming, on: holder)
      do { try program.become(taken) } catch {
        try? HoldClient.say(.keep, on: holder)
        throw error
      }
    }
  }
}

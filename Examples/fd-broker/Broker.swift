// SPDX-License-Identifier: Apache-2.0
import ArgumentParser

/// A broker of open files: a server opens the files that its clients name, and sends the open
/// descriptors back.
@main
struct Broker: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "fd-broker",
    abstract:
      "Opens files for other processes, and sends them the open descriptors over a Unix socket.",
    subcommands: [Serve.self, Fetch.self, Verify.self, Demo.self]
  )
}

// SPDX-License-Identifier: Apache-2.0
import ArgumentParser

@main
struct Console: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Receives the terminals of containers, and connects to them.",
    subcommands: [Demo.self, Attach.self, Harm.self],
    defaultSubcommand: Demo.self
  )
}

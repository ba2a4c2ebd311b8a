// SPDX-License-Identifier: Apache-2.0
import ArgumentParser

@main
struct PrivilegeSeparation: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "privilege-separation",
    abstract: "A parent opens files that only it may open; a child without rights counts them.",
    subcommands: [Demo.self, Work.self],
    defaultSubcommand: Demo.self
  )
}

// SPDX-License-Identifier: Apache-2.0
import ArgumentParser

@main
struct Frames: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Clients send pictures in sealed memory to a service that writes PNGs.",
    subcommands: [Demo.self, Serve.self, Send.self, Harm.self],
    defaultSubcommand: Demo.self
  )
}

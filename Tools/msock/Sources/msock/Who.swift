// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import MessageSockets

struct Who: LoopCommand {
  static let configuration = CommandConfiguration(
    abstract: "Shows which process listens at an address.",
    discussion: """
      Connects, and asks the kernel for the process that called listen(2), its user, its \
      groups and its security label. Nothing is sent.
      """
  )

  @Argument(help: "Where to connect to.", completion: .file())
  var address: String

  @Flag(help: "Print one line of JSON.")
  var json = false

  @OptionGroup var limits: Limits

  private struct Shown: Encodable {
    let process: Int32?
    let user: UInt32?
    let group: UInt32?
    let groups: [UInt32]?
    let label: String?
  }

  func run(on loop: IOLoop) async throws {
    let peer = try await connect(on: loop).peerIdentity()
    if json {
      return try Console.sayJSON(
        Shown(
          process: peer.processID, user: peer.userID, group: peer.groupID,
          groups: peer.supplementaryGroups,
          label: peer.securityLabel?.text))
    }
    try Console.say("\(peer)")
  }

  /// Connects to a socket of either kind, which only trying can determine. At an abstract address,
  /// a socket of another kind refuses as if no process listened.
  private func connect(on loop: IOLoop) async throws -> Connection {
    let address = try UnixAddress(argument: address)
    do {
      return try await .connect(to: address, seqpacket: false, on: loop)
    } catch let error as SocketError
      where error.code == .wrongSocketKind || error.code == .connectionRefused
    {
      return try await .connect(to: address, seqpacket: true, on: loop)
    }
  }
}

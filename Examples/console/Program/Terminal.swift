// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets

/// The master of a container's terminal, as a runtime sends it to its console socket
/// (`runc run --console-socket`): one connection, with the terminal's name in the bytes and one
/// descriptor.
final class Terminal: Sendable {
  static let maximumNameLength = 4096

  /// The name that the runtime gave: it is for people only, because it has a meaning in the
  /// container alone.
  let name: String
  let master: OwnedFd

  init(name: String, master: consuming OwnedFd) {
    self.name = name
    self.master = master
  }

  /// Admits the master of a terminal, which is always character device 5, 2 (`/dev/ptmx`). Any
  /// other descriptor is closed before it is used.
  static var policy: ReceivePolicy {
    var policy = ReceivePolicy(
      maximumDescriptorsPerMessage: 1, maximumDescriptorsHeld: 1,
      allowed: [.characterDevice(major: 5, minor: 2).requiring([.read, .write])])
    policy.onSurplus = .throwError
    return policy
  }

  /// Receives the terminal that a client sends, until the client closes the connection.
  ///
  /// - Parameter patience: How long the client may take.
  /// - Throws: ``Refusal`` if the client sends anything else; what it has sent is closed.
  static func receive(from client: UnixStream, patience: Duration = .seconds(5)) async throws
    -> Terminal
  {
    var name: [UInt8] = []
    var masters = OwnedFds()
    let deadline: Deadline = .now + patience
    do {
      // A stream may deliver the name in parts.
      while let message = try await client.receiveMessage(deadline: deadline) {
        name += message.payload
        guard name.count <= maximumNameLength else { throw Refusal.name }
        if let master = message.takeDescriptor() { masters.append(master) }
        guard masters.count <= 1 else { throw Refusal.severalDescriptors }
      }
    } catch let error as SocketError {
      throw Refusal(error) ?? error
    }
    guard let master = masters.takeFirst() else { throw Refusal.noDescriptor }
    // Control characters would act on the terminal that the name is printed on.
    guard let text = String(validating: name, as: UTF8.self),
      !text.unicodeScalars.contains(where: { $0.properties.generalCategory == .control })
    else { throw Refusal.name }
    return Terminal(name: text, master: master)
  }

  /// The C name is `TIOCSWINSZ`. The container's programs get SIGWINCH.
  func setSize(rows: UInt16, columns: UInt16) {
    var size = winsize(ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0)
    // SAFETY: the kernel reads one `winsize`.
    master.withUnsafeFileDescriptor { _ = unsafe ioctl($0.rawValue, UInt(TIOCSWINSZ), &size) }
  }
}

/// The reason for which a client is refused.
enum Refusal: String, Error {
  case noDescriptor = "it has sent no descriptor"
  case severalDescriptors = "it has sent more than one descriptor"
  case notATerminal = "its descriptor is not the master of a terminal"
  case name = "its terminal's name is longer than 4,096 bytes, or is no printable text"
  case tooLate = "it has not sent a terminal in time"
  case incomplete = "its descriptor did not arrive"
  case busy = "another terminal is connected"

  /// The reason, if the error is the client's fault.
  fileprivate init?(_ error: SocketError) {
    switch error.code {
    case .policyViolated where error.outcome?.surplus ?? 0 > 0: self = .severalDescriptors
    case .policyViolated where error.outcome?.refused.isEmpty == false: self = .notATerminal
    case .messageIncomplete, .connectionReset: self = .incomplete
    case .deadlineExceeded: self = .tooLate
    default: return nil
    }
  }
}

extension SocketListener where Connection == UnixStream {
  /// Serves terminals until the task is cancelled; clients that send anything else are refused.
  func serveTerminals(
    patience: Duration = .seconds(5),
    onRefusal: @escaping @Sendable (any Error) -> Void,
    handler: @escaping @Sendable (Terminal) async throws -> Void
  ) async throws {
    // The relay of a terminal does not end by itself when the server ends.
    let limits = ServeLimits(maximumConnections: 16, gracePeriod: .zero)
    try await serve(limits, onError: onRefusal) { client in
      let terminal = try await Terminal.receive(from: client, patience: patience)
      await client.close()
      try await handler(terminal)
    }
  }
}

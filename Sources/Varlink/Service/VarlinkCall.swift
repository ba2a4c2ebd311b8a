// SPDX-License-Identifier: Apache-2.0
internal import MessageFraming
public import MessageSockets
internal import SocketEngine

/// A call in the hands of its handler: who has made it, its descriptors, and those of the reply.
public final class VarlinkCall: Sendable {
  /// The method's full name.
  public let method: String

  /// Whether the client takes several replies (``reply(_:)``).
  public let wantsMore: Bool

  /// Whether the client gets no reply. What the handler returns is dropped then, and so is its
  /// error.
  public let isOneway: Bool

  private let frame: Frame
  private let connection: ServiceConnection
  private let outgoing = TSanVisibleMutex(Outgoing())

  private struct Outgoing: ~Copyable {
    /// Descriptors for the next reply.
    var pushed = OwnedFds()
    /// Whether the handler has returned.
    var isFinished = false
  }

  init(_ message: CallMessage, _ frame: Frame, _ connection: ServiceConnection) {
    method = message.method
    wantsMore = message.wantsMore
    isOneway = message.isOneway
    self.frame = frame
    self.connection = connection
  }

  /// How many descriptors came with the call, taken or not.
  public var descriptorCount: Int { frame.descriptorCount }

  /// Gives away the descriptor with this index, as it stands in the parameters. Those that are not
  /// taken close with the call.
  ///
  /// - Parameters:
  ///   - index: Counted from 0, in the order in which the client pushed them.
  ///   - name: The parameter that the index is from.
  /// - Throws: ``VarlinkError``: `InvalidParameter` with that name, if there is no such descriptor,
  ///   or it was taken before: thrown on by the handler, the client learns of its mistake.
  public func takeDescriptor(at index: Int, parameter name: String = "file") throws -> OwnedFd {
    do throws(FramingError) { return try frame.takeDescriptor(at: index) } catch {
      throw VarlinkError.invalidParameter(name)
    }
  }

  /// Adds a descriptor to the next reply, which owns it from here on.
  ///
  /// - Returns: The index to put into the reply's parameters.
  /// - Throws: `FramingError`: `tooManyDescriptors`. ``VarlinkFailure``: `callFinished`, when the
  ///   handler has returned. The descriptor is closed then.
  public func push(_ descriptor: consuming OwnedFd) throws -> Int {
    var descriptor = Optional(descriptor)
    return try outgoing.withLock { outgoing in
      if outgoing.isFinished { throw VarlinkFailure(.callFinished) }
      let count = outgoing.pushed.count
      guard count < connection.limits.maximumDescriptorsPerMessage else {
        throw FramingError(.tooManyDescriptors, detail: "at most \(count) in a reply")
      }
      outgoing.pushed.append(descriptor.take()!)
      return count
    }
  }

  /// Sends a reply that others follow, with the descriptors that were pushed. The last is what the
  /// handler returns.
  ///
  /// Waits while the client does not read.
  ///
  /// - Throws: ``VarlinkError``: `ExpectedMore` if the client wants one reply: thrown on by the
  ///   handler, it is the answer. ``VarlinkFailure``: `callFinished`, when the handler has
  ///   returned. Errors of the connection, as `peerClosed`; `CancellationError`.
  public func reply(_ parameters: some Encodable) async throws {
    guard wantsMore else { throw VarlinkError.expectedMore }
    if isOneway {
      _ = try takePushed()
      return
    }
    let message = ReplyMessage.encode(
      parameters: try JSON.encodeObject(parameters), continues: true)
    try await connection.send(message, try takePushed(), unlessFinished: self)
  }

  /// Returns the identity of the client, as the kernel recorded it when the client connected.
  ///
  /// - Throws: `SocketError`: `closed`.
  public func peerIdentity() async throws -> PeerIdentity {
    try await connection.channel.socket.peerIdentity()
  }

  /// Takes the descriptors that were pushed since the last reply.
  private func takePushed() throws -> OwnedFds {
    try outgoing.withLock { outgoing in
      if outgoing.isFinished { throw VarlinkFailure(.callFinished) }
      var taken = OwnedFds()
      swap(&taken, &outgoing.pushed)
      return taken
    }
  }

  /// Ends the call after its handler has returned: nothing can be pushed or replied any longer.
  ///
  /// - Returns: The descriptors that were pushed since the last reply.
  func finish() -> OwnedFds {
    outgoing.withLock { outgoing in
      outgoing.isFinished = true
      var taken = OwnedFds()
      swap(&taken, &outgoing.pushed)
      return taken
    }
  }

  func checkUnfinished() throws {
    if outgoing.withLock({ $0.isFinished }) { throw VarlinkFailure(.callFinished) }
  }
}

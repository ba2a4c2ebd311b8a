// SPDX-License-Identifier: Apache-2.0
internal import MessageFraming
public import MessageSockets

/// A connection to a Varlink service, on which any number of tasks make calls.
/// ```swift
/// let client = try await VarlinkClient.connect(to: VarlinkAddress("unix:/run/broker.sock"))
/// let reply = try await client.call("com.example.Broker.Open", Path(path: "notes.txt"), returning: File.self)
/// let file = try reply.takeDescriptor(at: reply.parameters.file)
/// await client.close()
/// ```
/// Calls are pipelined: each is sent as soon as it is made, and the service answers them in order.
/// So a call that takes long holds up those behind it; use a second connection for such.
///
/// **Cancellation and deadlines.** Varlink has no message to cancel a call. A call that is
/// cancelled before it was sent, is not sent. Afterwards it is abandoned: its reply is received in
/// its turn, and dropped with its descriptors; the connection goes on. More than
/// ``VarlinkLimits/abandonedCalls`` without an answer close it.
///
/// The connection is closed by ``close()``, or when the client and the replies of its calls with
/// `more` are dropped. After an error of the connection every call throws that error; make a new
/// client.
public final class VarlinkClient: Sendable {
  private let connection: ClientConnection

  /// Connects to the service at an address.
  ///
  /// - Parameters:
  ///   - address: The service's.
  ///   - limits: What the connection may cost.
  ///   - loop: Where the connection lives; by default as for `UnixStream`.
  /// - Throws: `SocketError` as `UnixStream.connect(to:)`; `CancellationError`.
  public static func connect(
    to address: VarlinkAddress, limits: VarlinkLimits = VarlinkLimits(), on loop: IOLoop? = nil
  ) async throws -> VarlinkClient {
    VarlinkClient(try await UnixStream.connect(to: address.unix, on: loop), limits: limits)
  }

  /// Takes over a connection, on which nothing has been received. Its peer is not asked for
  /// anything.
  public init(_ socket: UnixStream, limits: VarlinkLimits = VarlinkLimits()) {
    connection = ClientConnection(socket, limits)
    connection.start()
  }

  deinit {
    connection.end(with: VarlinkFailure(.connectionEnded, detail: "the client was dropped"))
  }

  /// Closes the connection. Calls that wait throw ``VarlinkFailure`` with the code
  /// `connectionEnded`.
  public func close() async { await connection.close() }

  /// Makes a call, and waits for its reply.
  ///
  /// - Parameters:
  ///   - method: The interface, a dot, and the method: `com.example.Broker.Open`.
  ///   - parameters: What is encoded as a JSON object.
  ///   - type: What to decode the reply's parameters as.
  ///   - descriptors: What goes with the call; the parameters name them by index. They close when
  ///     the call has been sent, or has failed. While other calls are unanswered, a call with
  ///     descriptors waits, and those behind it (``VarlinkLimits/pipelinesDescriptors``).
  ///   - deadline: When to give up.
  /// - Throws: ``VarlinkError``: what the service has answered in place of a reply.
  ///   ``VarlinkFailure``. `SocketError`: `deadlineExceeded`, and errors of the connection.
  ///   `FramingError`: a message above a limit, or sent in part. `CancellationError`. A reply that
  ///   has arrived wins against both.
  public func call<Parameters: Encodable, Reply: Decodable & Sendable>(
    _ method: String, _ parameters: Parameters = VarlinkEmpty(),
    returning type: Reply.Type = Reply.self,
    descriptors: consuming OwnedFds = OwnedFds(), deadline: Deadline = .never
  ) async throws -> VarlinkReply<Reply> {
    let message = try CallMessage.encode(method: method, parameters: JSON.encodeObject(parameters))
    return try await reply(to: message, descriptors, deadline).decode(as: type)
  }

  /// Makes a call with parameters that are JSON text, and returns those of the reply as text; see
  /// ``call(_:_:returning:descriptors:deadline:)``.
  ///
  /// - Throws: Also ``VarlinkFailure``: `malformedMessage` or `nestedTooDeeply` if the text is no
  ///   JSON object. Nothing was sent then.
  public func call(
    _ method: String, json parameters: String, descriptors: consuming OwnedFds = OwnedFds(),
    deadline: Deadline = .never
  ) async throws -> VarlinkReply<String> {
    let message = try CallMessage.encode(method: method, parameters: Self.object(parameters))
    return try await reply(to: message, descriptors, deadline).text()
  }

  /// Makes a call that is not answered; returns when it has been sent. Whether the service has the
  /// method is not known.
  ///
  /// - Throws: As ``call(_:_:returning:descriptors:deadline:)``, except errors that the service
  ///   answers.
  public func callOneway<Parameters: Encodable>(
    _ method: String, _ parameters: Parameters = VarlinkEmpty(),
    descriptors: consuming OwnedFds = OwnedFds(),
    deadline: Deadline = .never
  ) async throws {
    let parameters = try JSON.encodeObject(parameters)
    let message = try CallMessage.encode(method: method, parameters: parameters, isOneway: true)
    let box = DescriptorBox(descriptors)
    try await within(deadline) { [connection] in try await connection.send(message, box, as: nil) }
  }

  /// Makes a call to which several replies may come, and returns when it has been sent.
  ///
  /// Replies are received as they are asked for, up to 8 ahead: a task that is slow slows the
  /// service down, and all calls behind this one. To stop early, leave the iteration or drop the
  /// sequence: the replies that are still to come are dropped. If they never end, close the client;
  /// such calls are best made on a connection of their own. Do not call on the same client inside
  /// the iteration: the answer stands behind the replies, and when 8 are not taken, neither is
  /// received afterwards.
  ///
  /// - Parameters:
  ///   - method: The interface, a dot, and the method.
  ///   - parameters: What is encoded as a JSON object.
  ///   - type: What to decode the parameters of each reply as.
  ///   - descriptors: What goes with the call. They close when it has been sent, or has failed.
  ///   - deadline: When to give up sending. It does not hold for the replies.
  /// - Throws: As ``call(_:_:returning:descriptors:deadline:)``; what the service answers, the
  ///   iteration throws.
  public func callMore<Parameters: Encodable, Reply: Decodable & Sendable>(
    _ method: String, _ parameters: Parameters = VarlinkEmpty(),
    returning type: Reply.Type = Reply.self,
    descriptors: consuming OwnedFds = OwnedFds(), deadline: Deadline = .never
  ) async throws -> VarlinkReplies<Reply> {
    let calling = try await startMore(method, JSON.encodeObject(parameters), descriptors, deadline)
    return VarlinkReplies(calling) { try $0.decode(as: type) }
  }

  /// Makes a call with parameters that are JSON text, to which several replies may come, as text;
  /// see ``callMore(_:_:returning:descriptors:deadline:)``.
  public func callMore(
    _ method: String, json parameters: String, descriptors: consuming OwnedFds = OwnedFds(),
    deadline: Deadline = .never
  ) async throws -> VarlinkReplies<String> {
    let calling = try await startMore(method, Self.object(parameters), descriptors, deadline)
    return VarlinkReplies(calling) { try $0.text() }
  }

  // MARK: Shared by all forms

  private func reply(
    to message: [UInt8], _ descriptors: consuming OwnedFds, _ deadline: Deadline
  ) async throws -> RawReply {
    let box = DescriptorBox(descriptors)
    return try await within(deadline) { [connection] in
      let call = PendingCall(wantsMore: false)
      try await connection.send(message, box, as: call)
      do {
        guard let reply = try await call.next() else {
          preconditionFailure("A call ends with a reply")
        }
        return reply
      } catch {
        connection.abandon(call)
        throw error
      }
    }
  }

  private func startMore(
    _ method: String, _ parameters: [UInt8], _ descriptors: consuming OwnedFds,
    _ deadline: Deadline
  ) async throws -> CallWithMore {
    let message = try CallMessage.encode(method: method, parameters: parameters, wantsMore: true)
    let box = DescriptorBox(descriptors)
    let calling = CallWithMore(client: self, connection: connection)
    try await within(deadline) { [connection] in
      try await connection.send(message, box, as: calling.call)
    }
    calling.wasSent()
    return calling
  }

  private func within<R: Sendable>(
    _ deadline: Deadline, _ body: @escaping @Sendable () async throws -> R
  ) async throws -> R {
    if deadline == .never { return try await body() }
    return try await connection.channel.socket.loop.withDeadline(deadline, body)
  }

  private static func object(_ text: String) throws(VarlinkFailure) -> [UInt8] {
    let bytes = Array(text.utf8)
    _ = try JSONScanner.members(of: bytes[...])
    return bytes
  }
}

/// No parameters: `{}`.
public struct VarlinkEmpty: Codable, Sendable, Hashable {
  public init() {}
}

extension ClientConnection {
  fileprivate func send(_ message: [UInt8], _ box: DescriptorBox, as call: PendingCall?)
    async throws
  {
    let descriptors = box.take()
    try await send(message, descriptors: descriptors, as: call)
  }
}

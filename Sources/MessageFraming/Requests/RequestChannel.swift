// SPDX-License-Identifier: Apache-2.0
public import MessageSockets

/// Requests and replies over one connection, in both directions.
/// ```swift
/// let channel = RequestChannel(connection) { request in
///   Response(Array("hello, ".utf8) + request.payload)
/// }
/// let reply = try await channel.request(Array("you".utf8), deadline: .now + .seconds(2))
/// ```
/// Both ends are equal: each may make requests, and each answers those of the other by its handler.
/// Replies may come in any order, each to its own request. The frames are length-prefixed;
/// `Docs/Wire.md` shows the bytes. The peer is a channel like this one.
///
/// **Cancellation and deadlines** reach the other side. A request that is cancelled before it was
/// sent is not sent. If it was already sent, the channel notifies the peer, which cancels the task
/// of its handler. A reply or an error that still arrives is dropped with its descriptors.
///
/// **The end.** The connection is closed by ``close()``, or when the channel is dropped; handlers
/// are cancelled then. They are also cancelled when the peer closes it, or its sending side: what
/// they answer then is sent to a peer that still reads. When the socket drains
/// (``MessageSocket/startDraining()``), requests that have arrived are answered without being
/// cancelled, and then the connection is closed.
///
/// **Descriptors.** The requests of a peer that are not answered hold up to
/// ``RequestLimits/unansweredRequests`` times ``RequestLimits/descriptorsPerFrame`` descriptors,
/// 16,192 by default. Give the limits that the use needs, or the socket a ``ReceivePolicy`` with
/// ``ReceivePolicy/maximumDescriptorsHeld``, which ends the channel of a peer that exceeds it; see
/// <doc:RequestsAndReplies>.
public final class RequestChannel<Socket: UnixConnection>: Sendable {
  private let connection: RequestConnection<Socket>

  /// Takes over a connection, and starts to receive.
  ///
  /// - Parameters:
  ///   - socket: On which nothing has been sent or received.
  ///   - limits: The two ends may have different ones.
  ///   - handler: Answers a request of the peer. Runs in a task of its own on the connection's
  ///     loop, beside others, and must not block the thread. What it throws is answered as a
  ///     ``RequestFailure``. One that refers to its own channel keeps it until the connection has
  ///     ended: close it then, instead of dropping it.
  public init(
    _ socket: Socket, limits: RequestLimits = RequestLimits(),
    handler: @escaping @Sendable (_ request: Frame) async throws -> Response
  ) {
    connection = RequestConnection(socket, limits, handler)
    connection.start()
  }

  /// Takes over a connection on which only this end makes requests. Those of the peer are answered
  /// with ``RequestFailure/Code/notServed``.
  public convenience init(_ socket: Socket, limits: RequestLimits = RequestLimits()) {
    self.init(socket, limits: limits) { _ in throw RequestFailure(.notServed) }
  }

  deinit { connection.end(with: FramingError(.connectionEnded, detail: "the channel was dropped")) }

  /// Makes a request, and waits for its reply; first for its turn, while
  /// ``RequestLimits/unansweredRequests`` of this end are unanswered.
  ///
  /// - Parameters:
  ///   - payload: At most ``RequestLimits/frameSize`` bytes.
  ///   - descriptors: What goes with the request. They close when it has been sent, or has failed.
  ///   - deadline: When to give up.
  /// - Throws: ``RequestFailure`` if the peer's handler has thrown. ``SocketError``:
  ///   `deadlineExceeded`, and errors of the connection. ``FramingError``: a frame above a limit,
  ///   `connectionEnded`, why the channel has ended. `CancellationError`. A reply that has arrived
  ///   wins against both.
  public func request(
    _ payload: [UInt8], descriptors: consuming OwnedFds = OwnedFds(),
    deadline: Deadline = .never
  ) async throws -> Frame {
    let request = Response(payload, descriptors: descriptors)
    if deadline == .never { return try await connection.request(request) }
    return try await connection.channel.socket.loop.withDeadline(deadline) { [connection] in
      try await connection.request(request)
    }
  }

  /// Waits until the connection ends: the peer has closed it and all handlers have ended, or the
  /// socket drains (``MessageSocket/startDraining()``) and they have. For a handler of
  /// ``SocketListener/serve(_:onError:handler:)``, which closes the connection when it returns.
  ///
  /// A handler of the same channel must not wait for this: the end waits for it.
  ///
  /// - Throws: Why it has ended otherwise. `CancellationError` when the task was cancelled: then
  ///   the connection is closed, and requests of other tasks throw ``FramingError`` with the code
  ///   `connectionEnded`.
  public func untilEnded() async throws { try await connection.untilEnded() }

  /// Closes the connection. Requests that wait throw ``FramingError`` with the code
  /// `connectionEnded`. Returns when all handlers have ended. Called in a handler of this channel,
  /// or in a task that a handler has started, it returns without waiting; the answer of that
  /// handler may get lost.
  public func close() async { await connection.close() }
}

/// The limits of one ``RequestChannel``.
public struct RequestLimits: Sendable, Hashable {
  /// How many bytes a payload may have, 1 to 1 GiB. A peer that sends more is closed.
  public var frameSize: Int
  /// How many descriptors a frame may carry, 0 to 253. A peer that sends more is closed.
  public var descriptorsPerFrame: Int
  /// The largest number of unanswered requests in each direction, 1 or more. Further requests of
  /// this end wait. The connection of a peer that makes more is closed, so give both ends the same
  /// number. The requests and answers of a peer that reads nothing fill as many frames at most, and
  /// one more.
  public var unansweredRequests = 64
  /// The largest number of the peer's requests that are handled at a time, 1 or more. Further
  /// requests wait until a handler ends. Requests that lead to others on the same channel, in
  /// circles, need this and ``unansweredRequests`` to be larger than the number of those that wait
  /// for each other.
  public var concurrentRequests = 64
  /// How many requests may be abandoned, by cancellation or a deadline, whose replies have not
  /// come. One more ends the channel. 0 or more; they count as unanswered, so that from
  /// ``unansweredRequests`` on this ends nothing, and further requests wait.
  public var abandonedRequests = 64

  /// 1 MiB and 253 descriptors.
  public init(frameSize: Int = 1 << 20, descriptorsPerFrame: Int = 253) {
    self.frameSize = frameSize
    self.descriptorsPerFrame = descriptorsPerFrame
  }
}

/// The answer of a handler: bytes and descriptors, which close when they have been sent.
public struct Response: Sendable {
  let payload: [UInt8]
  private let descriptors: DescriptorBox

  /// A reply.
  public init(_ payload: [UInt8], descriptors: consuming OwnedFds = OwnedFds()) {
    self.payload = payload
    self.descriptors = DescriptorBox(descriptors)
  }

  /// The descriptors, which can be taken once.
  func takeDescriptors() -> OwnedFds { descriptors.take() }
}

/// A request that its handler has not answered: thrown to the one that made it.
public struct RequestFailure: Error, Sendable, Hashable {
  /// Why there is no reply. The raw value is the first byte of the error's payload.
  public struct Code: RawRepresentable, Sendable, Hashable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    /// The handler refused the request: ``RequestFailure/payload`` has its reason.
    public static var refused: Code { Code(rawValue: 0) }
    /// The handler has thrown an error of another type, which is not sent.
    public static var failed: Code { Code(rawValue: 1) }
    /// The handler was cancelled.
    public static var cancelled: Code { Code(rawValue: 2) }
    /// The peer answers no requests.
    public static var notServed: Code { Code(rawValue: 3) }
  }

  /// Why there is no reply.
  public let code: Code
  /// The bytes that the handler sends to the peer.
  public let payload: [UInt8]

  /// Makes a failure for a handler to throw.
  public init(_ payload: [UInt8]) {
    code = .refused
    self.payload = payload
  }

  init(_ code: Code) {
    self.code = code
    payload = []
  }

  /// Decodes the payload of an error frame.
  init(decoding bytes: ArraySlice<UInt8>) {
    code = bytes.first.map { Code(rawValue: $0) } ?? .failed
    payload = Array(bytes.dropFirst())
  }

  /// Converts a handler's error to its form on the wire.
  init(_ error: any Error) {
    self =
      error as? RequestFailure ?? RequestFailure(error is CancellationError ? .cancelled : .failed)
  }

  var bytes: [UInt8] { [code.rawValue] + payload }

  /// A failure that fits into a frame: a text that is too long is left out.
  func fitting(_ frameSize: Int) -> RequestFailure {
    payload.count < frameSize ? self : RequestFailure(.failed)
  }
}

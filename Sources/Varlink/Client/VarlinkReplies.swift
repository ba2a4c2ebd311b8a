// SPDX-License-Identifier: Apache-2.0
internal import Synchronization

/// The replies to one call with `more`. See
/// ``VarlinkClient/callMore(_:_:returning:descriptors:deadline:)``.
///
/// One task iterates, once. An error ends the iteration, and is thrown: of the service, of a reply
/// that is of another type, a cancellation. Replies that are still to come are dropped then.
public struct VarlinkReplies<Parameters: Sendable>: AsyncSequence, Sendable {
  public typealias Element = VarlinkReply<Parameters>
  public typealias Failure = any Error

  private let calling: CallWithMore
  private let decode: @Sendable (RawReply) throws -> Element

  init(_ calling: CallWithMore, decode: @escaping @Sendable (RawReply) throws -> Element) {
    self.calling = calling
    self.decode = decode
  }

  public func makeAsyncIterator() -> AsyncIterator {
    AsyncIterator(calling: calling, decode: decode)
  }

  /// Takes one reply a step. After the last, or an error, there is nothing more.
  public struct AsyncIterator: AsyncIteratorProtocol {
    fileprivate let calling: CallWithMore
    fileprivate let decode: @Sendable (RawReply) throws -> Element
    private var isFinished = false

    fileprivate init(
      calling: CallWithMore, decode: @escaping @Sendable (RawReply) throws -> Element
    ) {
      self.calling = calling
      self.decode = decode
    }

    public mutating func next(isolation: isolated (any Actor)?) async throws -> Element? {
      if isFinished { return nil }
      do {
        let reply = try await calling.next()
        isFinished = reply == nil
        return try reply.map(decode)
      } catch {
        isFinished = true
        calling.abandon()
        throw error
      }
    }
  }
}

/// A call with `more`, held by the task that made it. Dropping this object abandons the call.
final class CallWithMore: Sendable {
  let call = PendingCall(wantsMore: true)
  /// Held so that its connection stays open.
  private let client: VarlinkClient
  private let connection: ClientConnection
  private let isUnderWay = Atomic(false)

  init(client: VarlinkClient, connection: ClientConnection) {
    self.client = client
    self.connection = connection
  }

  func wasSent() { isUnderWay.store(true, ordering: .relaxed) }

  /// The next reply; nil after the last one or if the call was abandoned.
  func next() async throws -> RawReply? { try await call.next() }

  /// Drops the replies that are still to come.
  func abandon() { connection.abandon(call) }

  deinit {
    if isUnderWay.load(ordering: .relaxed) { abandon() }
  }
}

// SPDX-License-Identifier: Apache-2.0
public import MessageSockets

/// The frames of a channel, as they arrive. See ``FramedChannel/frames``.
public struct FrameSequence<Socket: UnixConnection>: AsyncSequence, Sendable {
  public typealias Element = Frame
  public typealias Failure = any Error

  let channel: FramedChannel<Socket>
  private var endsWhenDraining = false

  init(channel: FramedChannel<Socket>) { self.channel = channel }

  /// The frames up to the time when the socket drains, and then only those that have arrived or
  /// have begun to (``MessageSocket/startDraining()``): for handlers of
  /// ``SocketListener/serve(_:onError:handler:)``.
  ///
  /// The rest of a frame that has begun is waited for while the socket drains, for a second in all.
  /// The iteration then ends as behind a whole frame.
  public func untilDraining() -> FrameSequence {
    var copy = self
    copy.endsWhenDraining = true
    return copy
  }

  public func makeAsyncIterator() -> AsyncIterator {
    AsyncIterator(channel: channel, endsWhenDraining: endsWhenDraining)
  }

  /// Receives one frame a step. After the end, or an error, there is nothing more.
  public struct AsyncIterator: AsyncIteratorProtocol {
    let channel: FramedChannel<Socket>
    fileprivate let endsWhenDraining: Bool
    private var isFinished = false

    fileprivate init(channel: FramedChannel<Socket>, endsWhenDraining: Bool) {
      self.channel = channel
      self.endsWhenDraining = endsWhenDraining
    }

    public mutating func next(isolation: isolated (any Actor)?) async throws -> Frame? {
      if isFinished { return nil }
      do {
        let frame = try await endsWhenDraining ? channel.receiveUntilDraining() : channel.receive()
        isFinished = frame == nil
        return frame
      } catch {
        isFinished = true
        throw error
      }
    }
  }
}

// SPDX-License-Identifier: Apache-2.0
internal import SocketEngine

/// What an iteration over bytes has received and not returned. At its end the socket gets the rest
/// back.
@usableFromInline
final class UnreadBytes<Socket: StreamSocket> {
  private let socket: Socket
  private let window: ReceiveWindow?
  /// To be set before the first step.
  private var policy: ReceivePolicy?
  @usableFromInline var bytes: [UInt8] = []
  @usableFromInline var position = 0
  private var isFinished = false

  init(socket: Socket, window: ReceiveWindow?, policy: ReceivePolicy?) {
    self.socket = socket
    self.window = window
    self.policy = policy
  }

  deinit {
    if position < bytes.count { socket.channel.putBack(bytes[position...]) }
  }

  @inlinable
  func popFirst() -> UInt8? {
    guard position < bytes.count else { return nil }
    defer { position += 1 }
    return bytes[position]
  }

  /// Receives the next bytes; false at the end.
  @usableFromInline
  nonisolated(nonsending) func receive() async throws -> Bool {
    if isFinished { return false }
    do {
      if let policy = policy.take() { try await socket.setReceivePolicy(policy) }
      let message = try await socket.nextMessage(window: window)
      bytes = message?.payload ?? []
      position = 0
      isFinished = message == nil
      return message != nil
    } catch {
      isFinished = true
      throw error
    }
  }
}

// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import CMessageSockets
public import MessageSockets
internal import SystemPackage

// Actions of a malicious peer, from the other end of a pair or from a client of a listener.

extension UnixConnection {
  /// Sends a message with `count` descriptors of `/dev/null`, as a peer does that floods the other
  /// side with descriptors.
  ///
  /// - Parameters:
  ///   - count: 1 to 253, the most that a message can carry.
  ///   - payload: At least one byte on a stream.
  /// - Throws: As `sendMessage` does; `Errno` if `count` descriptors cannot be opened.
  public nonisolated func sendDescriptors(_ count: Int, with payload: [UInt8] = [0]) async throws {
    precondition(count > 0, "A message with descriptors has at least one")
    var descriptors = OwnedFds()
    for _ in 0..<count {
      let file = FilePath("/dev/null")
      descriptors.append(
        OwnedFd(adopting: try FileDescriptor.open(file, .readOnly, options: .closeOnExec)))
    }
    try await sendMessage(payload, descriptors: descriptors.span)
  }

  /// Sends a message that is one byte longer than the buffer of a loop: a receive on a seqpacket
  /// socket throws `messageIncomplete`, and on a stream the rest follows.
  ///
  /// - Parameter size: ``IOLoop/Configuration/receiveBufferSize`` of the receiver's loop.
  public nonisolated func sendMessage(
    longerThan size: Int = IOLoop.Configuration().receiveBufferSize
  ) async throws {
    precondition(size >= 0, "A buffer has no negative size")
    try await sendMessage([UInt8](repeating: 0, count: size + 1))
  }

  /// Sends messages until the queue of the other side is full, as a peer does that never pauses.
  ///
  /// Where the other side receives as fast as this one sends, that may never be: cancel the task
  /// then.
  ///
  /// - Parameter payload: At least one byte on a stream.
  /// - Returns: How many bytes were sent.
  /// - Throws: As `sendMessage` does.
  public nonisolated func sendUntilFull(_ payload: [UInt8] = [0]) async throws -> Int {
    precondition(!payload.isEmpty || !(self is UnixStream), "A stream is not filled by nothing")
    var count = 0
    while true {
      do { try await sendMessage(payload, options: .doNotWait) } catch let error as SocketError {
        switch error.code {
        case .wouldBlock: return count
        case .partialSend: return count + error.bytesSent
        default: throw error
        }
      }
      count += payload.count
    }
  }

  /// Ends the connection of `other`, the other end, by a reset: its next receive throws
  /// `connectionReset`, behind the messages that wait for it. This socket is closed then.
  ///
  /// Linux resets a Unix connection that is closed with a message unread in it, so one more message
  /// of `other` is put into this end's queue first.
  ///
  /// - Precondition: `other` is the other end, and neither is shut down.
  /// - Throws: `closed`, if either end is closed; `messagesUnread` if an iteration over this end
  ///   has received messages that were not asked for: receive them first; what `sendMessage`
  ///   throws where no message can be put into the queue. This socket is closed in any case.
  public nonisolated func resetConnection(of other: Self) async throws {
    let otherEnd = try await other.duplicate()
    let ownEnd = try await release()
    let failure = errorOfOneMore(through: otherEnd)
    _ = consume ownEnd
    // A full queue also leaves unread messages.
    if let failure, failure.errno != .wouldBlock { throw failure }
  }
}

private func errorOfOneMore(through socket: borrowing OwnedFd) -> AncillaryError? {
  do {
    _ = try socket.sendMessage([UInt8(0)], descriptors: OwnedFds().span, options: .doNotWait)
    return nil
  } catch { return error }
}

/// Runs `body` while this process can open at most `count` more descriptors, and then restores the
/// limit.
///
/// This is the shortage that a peer can bring about: of a message with more descriptors than are
/// free, only the first arrive, and the receive throws `messageIncomplete` with
/// ``ControlTruncation/outOfDescriptors``. The soft `RLIMIT_NOFILE` is lowered for the whole
/// process, so tests that use this must not run at the same time as others. Start loops before
/// `body`.
public func withFreeDescriptors<R>(_ count: Int, _ body: () async throws -> R) async throws -> R {
  let open = Set(OpenDescriptors(ignoring: { _ in false }).targets.keys)
  var limit: Int32 = 0
  var free = 0
  // Not below the standard descriptors: poll(2) fails if it gets more descriptors than the limit.
  while free < count || limit < 3 {
    if !open.contains(limit) { free += 1 }
    limit += 1
  }
  let before = cms_descriptor_limit()
  let result = cms_set_descriptor_limit(min(UInt64(limit), before))
  guard result == 0 else { throw Errno(rawValue: -result) }
  defer { _ = cms_set_descriptor_limit(before) }
  return try await body()
}

// SPDX-License-Identifier: Apache-2.0
internal import MessageSockets
internal import SocketEngine
internal import SystemPackage

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// The process at the other end of a hand-over. The end of the connection alone does not say that
/// it has ended: it may have given up, and go on.
enum OtherProcess: Sendable {
  case known(Descriptor)
  case ended
  /// Before Linux 6.5: the end of the connection has to do.
  case unknown

  /// A process descriptor that several values can have.
  final class Descriptor: Sendable {
    let process: ProcessFd
    init(_ process: consuming ProcessFd) { self.process = process }
  }

  /// The process that has sent a message.
  ///
  /// - Throws: ``SocketError``: `outOfDescriptors`. A process of which we cannot tell whether it
  ///   lives is not taken for a dead one.
  init(senderOf message: ReceivedMessage) throws(SocketError) {
    do throws(Errno) {
      guard let found = try message.takeProcess() else {
        self = .unknown
        return
      }
      self = .known(Descriptor(found))
    } catch {
      // The second is what Linux before 6.15 says of a process that was waited for.
      guard error == .noSuchProcess || error == .invalidArgument else {
        throw SocketError(result: -error.rawValue, .receive)
      }
      self = .ended
    }
  }

  /// The process that has connected.
  ///
  /// - Throws: ``SocketError``: `outOfDescriptors`, `closed`.
  init(peerOf socket: UnixSeqpacket) async throws {
    do {
      guard let found = try await socket.peerProcess() else {
        self = .unknown
        return
      }
      self = .known(Descriptor(found))
    } catch let error as SocketError where error.errno == .noSuchProcess {
      self = .ended
    }
  }

  /// Whether the process ends within the limit.
  func ends(within limit: Duration, on loop: IOLoop) async throws -> Bool {
    guard case .known(let descriptor) = self else { return true }
    let clock = ContinuousClock()
    let end = clock.now + limit
    while true {
      let hasEnded = descriptor.process.withUnsafeFileDescriptor { descriptor in
        var wanted = pollfd(fd: descriptor.rawValue, events: Int16(POLLIN), revents: 0)
        // SAFETY: the call reads and writes one entry, a local.
        return unsafe poll(&wanted, 1, 0) > 0
      }
      if hasEnded || clock.now >= end { return hasEnded }
      try await loop.sleep(for: .milliseconds(5))
    }
  }
}

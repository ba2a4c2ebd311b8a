// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets
internal import MessageSockets
internal import SocketEngine
internal import SystemPackage

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// The process at the other end of a hand-over. The end of the connection alone does not prove that
/// the process has ended: it may have given up and gone on.
enum OtherProcess: Sendable {
  case known(Descriptor)
  case ended
  /// Its number means nothing in our namespace, or pidfd_open(2) is not allowed. The end of the
  /// connection then counts as the end of the process.
  case unknown

  /// A process descriptor that several values can share.
  final class Descriptor: Sendable {
    let process: ProcessFd
    init(_ process: consuming ProcessFd) { self.process = process }
  }

  /// The process that sent a message.
  ///
  /// - Throws: ``SocketError``: `outOfDescriptors`. If it cannot be determined whether the process
  ///   is alive, it does not count as dead.
  init(senderOf message: ReceivedMessage) throws(SocketError) {
    do throws(Errno) {
      guard let found = try message.takeProcess() else {
        self = try .init(number: message.credentials?.processID)
        return
      }
      self = .known(Descriptor(found))
    } catch {
      // Linux before 6.15 reports EINVAL for a process that was waited for.
      guard error == .noSuchProcess || error == .invalidArgument else {
        throw SocketError(result: -error.rawValue, .receive)
      }
      self = .ended
    }
  }

  /// The process that connected.
  ///
  /// - Throws: ``SocketError``: `outOfDescriptors`, `closed`.
  init(peerOf socket: UnixSeqpacket) async throws {
    do {
      guard let found = try await socket.peerProcess() else {
        self = try .init(number: try await socket.peerIdentity().processID)
        return
      }
      self = .known(Descriptor(found))
    } catch let error as SocketError where error.errno == .noSuchProcess {
      self = .ended
    } catch let error as Errno {
      guard error == .noSuchProcess else { throw SocketError(result: -error.rawValue, .query) }
      self = .ended
    }
  }

  /// The process with a number, for Linux before 6.5, where messages and sockets have no process
  /// descriptors. If the number was reused in the meantime, the process does not count as dead.
  ///
  /// - Throws: `EMFILE`, `ENFILE`, `ENOMEM`, `ESRCH`.
  init(number: Int32?) throws(Errno) {
    guard let number, number > 0 else {
      self = .unknown
      return
    }
    let result = cms_process_open(number)
    switch -result {
    case ...0:
      let descriptor = OwnedFd(adopting: FileDescriptor(rawValue: result))
      self = .known(Descriptor(ProcessFd(adopting: descriptor)))
    case Errno.noFunction.rawValue, Errno.notPermitted.rawValue, Errno.permissionDenied.rawValue:
      self = .unknown
    default: throw Errno(rawValue: -result)
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
        // SAFETY: the call reads and writes one entry, a local variable.
        return unsafe poll(&wanted, 1, 0) > 0
      }
      if hasEnded || clock.now >= end { return hasEnded }
      try await loop.sleep(for: .milliseconds(5))
    }
  }
}

// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import MessageSockets
import ServiceManagement
import SharedMemory

/// An unsuccessful end: its exit status and message.
struct Failure: Error {
  let status: ExitCode
  let text: String

  init(_ status: ExitCode, _ text: String) {
    self.status = status
    self.text = text
  }
}

/// The statuses of sysexits.h, where it has one.
extension ExitCode {
  static var no: ExitCode { ExitCode(1) }
  static var wrongUsage: ExitCode { ExitCode(64) }
  static var notAdmitted: ExitCode { ExitCode(65) }
  static var notFound: ExitCode { ExitCode(66) }
  static var unavailable: ExitCode { ExitCode(69) }
  static var system: ExitCode { ExitCode(71) }
  static var cannotBind: ExitCode { ExitCode(73) }
  static var cannotWrite: ExitCode { ExitCode(74) }
  static var timeIsUp: ExitCode { ExitCode(75) }
  static var notPermitted: ExitCode { ExitCode(77) }
  static var cannotRun: ExitCode { ExitCode(126) }
  static var noSuchProgram: ExitCode { ExitCode(127) }
}

extension Failure {
  /// Converts any error to its meaning for the shell.
  init(_ error: any Error) {
    switch error {
    case let error as Failure: self = error
    case let error as SocketError:
      self.init(Self.status(of: error), "\(error)\(Self.advice(for: error))")
    case let error as ServiceError: self.init(.unavailable, "\(error)")
    case let error as MemoryError: self.init(.notAdmitted, "\(error)")
    case let error as Errno: self.init(Self.status(of: error), "\(error)")
    case is CancellationError: self.init(.timeIsUp, "stopped")
    default: self.init(.system, "\(error)")
    }
  }

  private static func status(of error: SocketError) -> ExitCode {
    switch error.code {
    case .notFound: .notFound
    case .connectionRefused, .peerClosed, .connectionReset, .wrongSocketKind: .unavailable
    case .policyViolated, .tooManyDescriptors, .messageIncomplete, .messageTooLarge,
      .cannotPassRing, .emptyPayload:
      .notAdmitted
    case .addressInUse, .addressNotAvailable: .cannotBind
    case .deadlineExceeded, .timedOut: .timeIsUp
    case .notPermitted: .notPermitted
    default: .system
    }
  }

  static func status(of error: Errno) -> ExitCode {
    switch error {
    case .noSuchFileOrDirectory, .notDirectory, .noSuchProcess: .notFound
    case .permissionDenied, .notPermitted: .notPermitted
    default: .system
    }
  }

  private static func advice(for error: SocketError) -> String {
    switch error.code {
    case .connectionReset, .peerClosed: "; it may admit its own user only"
    default: ""
    }
  }
}

// SPDX-License-Identifier: Apache-2.0
internal import MessageSockets
public import SystemPackage

/// Why something between this process and its service manager, its predecessor or its successor
/// failed.
///
/// Errors of the sockets in between are ``SocketError``, and are thrown as they are,
/// where nothing is to be added to them. Compare ``code``; more codes may be added, so keep a
/// `default` in every `switch`.
public struct ServiceError: Error, Sendable {
  /// The cause, as a program distinguishes it.
  public let code: Code
  /// The cause, as a person reads it: names, counts, limits.
  public let detail: String
  /// The number of the system's error, where a system call failed.
  public let errno: Errno?

  init(_ code: Code, _ detail: String, errno: Errno? = nil) {
    self.code = code
    self.detail = detail
    self.errno = errno
  }

  /// The cause of a ``ServiceError``.
  public struct Code: Hashable, Sendable, CustomStringConvertible {
    public let description: String

    /// A variable of the environment, as `LISTEN_FDS`, cannot be what a service manager has set. No
    /// descriptor was taken.
    public static let malformedEnvironment = Code(description: "malformedEnvironment")
    /// A number that was announced is not open, or was opened by this process itself. No descriptor
    /// was taken.
    public static let descriptorNotPassed = Code(description: "descriptorNotPassed")
    /// The passed descriptors were taken before, by this package or by another library.
    public static let alreadyTaken = Code(description: "alreadyTaken")
    /// No descriptor of that name was passed, or all of that name were taken.
    public static let unknownName = Code(description: "unknownName")
    /// The descriptor of that name is of another kind than was asked for.
    public static let wrongKind = Code(description: "wrongKind")
    /// A name is empty, too long, or has a colon or a control character in it.
    public static let invalidName = Code(description: "invalidName")
    /// The service manager's address is of a family that is not supported.
    public static let unsupportedAddress = Code(description: "unsupportedAddress")
    /// A message does not keep to its protocol.
    public static let malformedMessage = Code(description: "malformedMessage")
    /// The other side did not do its part of the work in time.
    public static let timedOut = Code(description: "timedOut")
    /// The other side has ended, or has closed the connection.
    public static let peerEnded = Code(description: "peerEnded")
    /// The other side is not who it has to be.
    public static let notAuthorized = Code(description: "notAuthorized")
    /// Another hand-over is under way.
    public static let handOverUnderWay = Code(description: "handOverUnderWay")
    /// The other side speaks another version of the protocol, or has another version of the state.
    public static let wrongVersion = Code(description: "wrongVersion")
    /// More descriptors or bytes than the limits admit.
    public static let limitExceeded = Code(description: "limitExceeded")
    /// The other side has given up the hand-over. A predecessor goes on serving, a successor does
    /// not begin.
    public static let refused = Code(description: "refused")
    /// The predecessor ends, for another reason than the hand-over.
    static let predecessorEnds = Code(description: "predecessorEnds")
    /// A program could not be started.
    public static let startFailed = Code(description: "startFailed")
  }
}

extension ServiceError: CustomStringConvertible {
  public var description: String { "\(code): \(detail)" + (errno.map { " [\($0)]" } ?? "") }
}

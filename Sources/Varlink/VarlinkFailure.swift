// SPDX-License-Identifier: Apache-2.0
/// Why a Varlink conversation could not go on, or a call not be made: everything but an error that
/// the service itself has answered (``VarlinkError``).
///
/// Errors of the socket are thrown as they are (`SocketError`), and so are those of the framing
/// (`FramingError`). Compare ``code``; more codes may be added.
public struct VarlinkFailure: Error, Sendable {
  /// The cause.
  public let code: Code
  /// More about the cause.
  public let detail: String?

  init(_ code: Code, detail: String? = nil) {
    self.code = code
    self.detail = detail
  }

  /// The cause of a ``VarlinkFailure``.
  public struct Code: Hashable, Sendable {
    private enum Name: String {
      case malformedMessage, nestedTooDeeply, replyWithoutCall, unexpectedContinuation
      case tooManyAbandonedCalls, connectionEnded, invalidAddress, addressNotSupported
      case invalidMethodName, invalidParameters, unexpectedParameters, callFinished
    }

    private let name: Name

    /// The peer's bytes are no JSON, or no Varlink message. The connection has ended.
    public static var malformedMessage: Code { Code(name: .malformedMessage) }
    /// The peer's JSON has more than 128 levels. The connection has ended.
    public static var nestedTooDeeply: Code { Code(name: .nestedTooDeeply) }
    /// The service has answered a call that was not made. The connection has ended.
    public static var replyWithoutCall: Code { Code(name: .replyWithoutCall) }
    /// The service has announced further replies to a call that asked for one. The connection has
    /// ended.
    public static var unexpectedContinuation: Code { Code(name: .unexpectedContinuation) }
    /// More calls were abandoned than ``VarlinkLimits/abandonedCalls``, and the service has not
    /// answered them. The connection has ended.
    public static var tooManyAbandonedCalls: Code { Code(name: .tooManyAbandonedCalls) }
    /// The service has closed the connection before it answered.
    public static var connectionEnded: Code { Code(name: .connectionEnded) }
    /// The address cannot be read.
    public static var invalidAddress: Code { Code(name: .invalidAddress) }
    /// The address is of a kind that this package does not connect to, as `exec:` or `tcp:`: only
    /// Unix sockets are supported.
    public static var addressNotSupported: Code { Code(name: .addressNotSupported) }
    /// A method's name is not an interface, a dot, and a name. Nothing was sent.
    public static var invalidMethodName: Code { Code(name: .invalidMethodName) }
    /// The parameters to send cannot be encoded, or are not a JSON object. Nothing was sent.
    public static var invalidParameters: Code { Code(name: .invalidParameters) }
    /// The parameters of a reply or an error are not of the type that was asked for. The connection
    /// goes on.
    public static var unexpectedParameters: Code { Code(name: .unexpectedParameters) }
    /// The handler of the call has returned: nothing can be pushed for it, or replied. Nothing was
    /// sent.
    public static var callFinished: Code { Code(name: .callFinished) }
  }
}

extension VarlinkFailure.Code: CustomStringConvertible {
  public var description: String { name.rawValue }

  /// An explanation of the error.
  var explanation: String {
    switch name {
    case .malformedMessage: "the peer's bytes are not a Varlink message"
    case .nestedTooDeeply: "the peer's message has more than \(JSONScanner.maximumDepth) levels"
    case .replyWithoutCall: "the service answered a call that was not made"
    case .unexpectedContinuation: "the service announced more replies than were asked for"
    case .tooManyAbandonedCalls: "too many abandoned calls are not answered"
    case .connectionEnded: "the service closed the connection before it answered"
    case .invalidAddress: "not a Varlink address"
    case .addressNotSupported: "only addresses of Unix sockets are supported"
    case .invalidMethodName: "not the name of a method"
    case .invalidParameters: "parameters that cannot be sent"
    case .unexpectedParameters: "parameters of another type than expected"
    case .callFinished: "the handler of the call has returned"
    }
  }
}

extension VarlinkFailure: CustomStringConvertible {
  public var description: String { code.explanation + (detail.map { " (\($0))" } ?? "") }
}

// SPDX-License-Identifier: Apache-2.0
public import MessageSockets

/// Why a frame could not be sent, received or taken apart.
///
/// Errors of the socket itself are thrown as they are (``SocketError``). Compare ``code``; more
/// codes may be added, so keep a `default` in every `switch`.
public struct FramingError: Error, Sendable {
  /// The cause.
  public let code: Code
  /// More about the cause: sizes, counts, limits.
  public let detail: String?
  /// The socket's error that was behind it, for ``Code/sendInterrupted``.
  public let socketError: SocketError?

  package init(_ code: Code, detail: String? = nil, socketError: SocketError? = nil) {
    self.code = code
    self.detail = detail
    self.socketError = socketError
  }

  /// The cause of a ``FramingError``.
  public struct Code: Hashable, Sendable {
    private enum Name: String {
      case frameTooLarge, tooManyDescriptors, malformedHeader, descriptorCountDiffers
      case descriptorsInPieces, endInsideFrame, zeroInPayload, sendInterrupted, incompleteReceive
      case notOneFrame, noSuchDescriptor, descriptorTaken
      case replyWithoutRequest, numberInUse, tooManyRequests, tooManyAbandoned, connectionEnded
    }

    private let name: Name

    /// The payload has more bytes than ``FrameFormat/maximumSize``. On sending nothing was sent; on
    /// receiving the channel has ended.
    public static var frameTooLarge: Code { Code(name: .frameTooLarge) }
    /// The frame has more descriptors than ``FrameFormat/maximumDescriptors``. On sending nothing
    /// was sent; on receiving they are closed, and the channel has ended.
    public static var tooManyDescriptors: Code { Code(name: .tooManyDescriptors) }
    /// The bytes in front of a payload are not a header. The channel has ended.
    public static var malformedHeader: Code { Code(name: .malformedHeader) }
    /// Fewer or more descriptors came with a frame than its header says. The channel has ended.
    public static var descriptorCountDiffers: Code { Code(name: .descriptorCountDiffers) }
    /// Descriptors came with two parts of one frame; they belong into one sendmsg(2). The channel
    /// has ended.
    public static var descriptorsInPieces: Code { Code(name: .descriptorsInPieces) }
    /// The peer has closed the connection in the middle of a frame.
    public static var endInsideFrame: Code { Code(name: .endInsideFrame) }
    /// A payload with a NUL cannot be zero-terminated. Nothing was sent.
    public static var zeroInPayload: Code { Code(name: .zeroInPayload) }
    /// A frame was sent in part, because its task was cancelled or the connection broke. The
    /// channel has ended: nothing can follow half a frame.
    public static var sendInterrupted: Code { Code(name: .sendInterrupted) }
    /// Something of a receive is missing: bytes, or descriptors (`EMFILE`, or the socket's
    /// ``ReceivePolicy`` has closed them). The channel has ended.
    public static var incompleteReceive: Code { Code(name: .incompleteReceive) }
    /// A message of a seqpacket socket is not exactly one frame. The channel has ended.
    public static var notOneFrame: Code { Code(name: .notOneFrame) }
    /// The frame has no descriptor with this index.
    public static var noSuchDescriptor: Code { Code(name: .noSuchDescriptor) }
    /// The descriptor with this index has been taken before.
    public static var descriptorTaken: Code { Code(name: .descriptorTaken) }
    /// The peer has answered a request that was not made, or was answered before. The channel has
    /// ended.
    public static var replyWithoutRequest: Code { Code(name: .replyWithoutRequest) }
    /// The peer has made a request with the number of one that is not answered yet. The channel has
    /// ended.
    public static var numberInUse: Code { Code(name: .numberInUse) }
    /// The peer has made more requests than ``RequestLimits/unansweredRequests`` that are not
    /// answered yet. The channel has ended.
    public static var tooManyRequests: Code { Code(name: .tooManyRequests) }
    /// More requests were abandoned than ``RequestLimits/abandonedRequests``, and the peer has not
    /// answered them. The channel has ended.
    public static var tooManyAbandoned: Code { Code(name: .tooManyAbandoned) }
    /// The connection has ended before the reply came.
    public static var connectionEnded: Code { Code(name: .connectionEnded) }
  }
}

extension FramingError.Code: CustomStringConvertible {
  public var description: String { name.rawValue }

  /// An explanation of the error.
  var explanation: String {
    switch name {
    case .frameTooLarge: "the frame is larger than the limit"
    case .tooManyDescriptors: "the frame has more descriptors than the limit"
    case .malformedHeader: "the peer's bytes are not a frame header"
    case .descriptorCountDiffers: "the frame's header and its descriptors do not agree"
    case .descriptorsInPieces: "descriptors came with two parts of one frame"
    case .endInsideFrame: "the peer closed the connection in the middle of a frame"
    case .zeroInPayload: "the payload contains a NUL"
    case .sendInterrupted: "a frame was sent in part, and the channel has ended"
    case .incompleteReceive: "a part of what the peer sent did not arrive"
    case .notOneFrame: "the message is not exactly one frame"
    case .noSuchDescriptor: "the frame has no such descriptor"
    case .descriptorTaken: "the descriptor has been taken before"
    case .replyWithoutRequest: "the peer answered a request that was not made"
    case .numberInUse: "the peer used a request number twice"
    case .tooManyRequests: "the peer has more unanswered requests than the limit allows"
    case .tooManyAbandoned: "too many abandoned requests are not answered"
    case .connectionEnded: "the connection ended before the reply"
    }
  }
}

extension FramingError: CustomStringConvertible {
  public var description: String {
    var text = code.explanation
    if let detail { text += " (\(detail))" }
    if let socketError { text += ": \(socketError)" }
    return text
  }
}

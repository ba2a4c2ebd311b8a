// SPDX-License-Identifier: Apache-2.0
#if NIO
  @_exported public import MessageSockets

  /// Why a socket did not change hands between SwiftNIO and this package.
  ///
  /// ``code`` says who owns the descriptor now: each code names it. Compare ``code``; more codes
  /// may be added, so keep a `default` in every `switch`.
  public struct NIOHandOverError: Error, Sendable {
    /// The cause, as a program distinguishes it.
    public let code: Code
    /// What SwiftNIO, the initializer, or the socket threw.
    public let underlying: (any Error)?
    /// More about the cause: what a descriptor is, how many bytes wait.
    public let detail: String?

    init(_ code: Code, underlying: (any Error)? = nil, detail: String? = nil) {
      self.code = code
      self.underlying = underlying
      self.detail = detail
    }

    /// The cause of a ``NIOHandOverError``.
    public struct Code: Hashable, Sendable, CustomStringConvertible {
      private enum Name: String {
        case wrongSocketKind = "it is no socket of the kind that is needed"
        case notConnected = "the socket is not connected"
        case notReleased = "the socket could not be released"
        case unsupportedEventLoop = "the event loop is none of NIOPosix"
        case eventLoopShutDown = "the event loop has shut down"
        case initializerFailed = "the initializer threw an error"
        case channelFailed = "SwiftNIO could not make the channel"
        case unsupportedChannel = "the channel has no socket to take"
        case channelClosed = "the channel is closed"
        case bytesUnsent = "the channel has bytes that it has not sent"
        case outOfDescriptors = "no descriptor is free"
        case system = "the kernel refused a call"
      }

      private let name: Name

      /// The descriptor is no socket, or of another kind: a stream of the families Unix, IPv4, IPv6
      /// or vsock is needed, and a listener only for a `ServerBootstrap`. It is closed.
      public static var wrongSocketKind: Code { Code(name: .wrongSocketKind) }
      /// To give: the stream has no peer, and is closed (`ENOTCONN`). To take: the channel is
      /// connecting or not bound, and goes on as before.
      public static var notConnected: Code { Code(name: .notConnected) }
      /// Releasing the socket of this package failed; ``NIOHandOverError/underlying`` is the
      /// ``SocketError``. With `messagesUnread` the socket is open, and yours.
      public static var notReleased: Code { Code(name: .notReleased) }
      /// The event loop belongs to no `MultiThreadedEventLoopGroup`. The descriptor is closed.
      public static var unsupportedEventLoop: Code { Code(name: .unsupportedEventLoop) }
      /// The event loop had shut down, so that SwiftNIO never saw the descriptor. To give: it is
      /// closed. To take: SwiftNIO has closed its channels.
      public static var eventLoopShutDown: Code { Code(name: .eventLoopShutDown) }
      /// The closure `initialize` threw ``NIOHandOverError/underlying``. The descriptor is closed.
      public static var initializerFailed: Code { Code(name: .initializerFailed) }
      /// SwiftNIO refused an option, or could not register the channel; or the channel was closed
      /// before it was registered. ``NIOHandOverError/underlying`` is its error. The descriptor is
      /// closed.
      public static var channelFailed: Code { Code(name: .channelFailed) }
      /// The channel has no socket: an `EmbeddedChannel`, a pipe, a stream of HTTP/2. It goes on as
      /// before.
      public static var unsupportedChannel: Code { Code(name: .unsupportedChannel) }
      /// The channel was closed first. SwiftNIO has closed the descriptor.
      public static var channelClosed: Code { Code(name: .channelClosed) }
      /// The channel holds bytes that were written to it and not sent. It goes on as before: wait
      /// for its writes, and try again.
      public static var bytesUnsent: Code { Code(name: .bytesUnsent) }
      /// The process, or the machine, has no descriptor left. The channel goes on as before.
      /// `EMFILE`, `ENFILE`.
      public static var outOfDescriptors: Code { Code(name: .outOfDescriptors) }
      /// The kernel refused a call that is needed; ``NIOHandOverError/underlying`` is its `Errno`.
      /// To give: the descriptor is closed. To take: the channel goes on as before.
      public static var system: Code { Code(name: .system) }

      /// A text for logs.
      public var description: String { name.rawValue }
    }
  }

  extension NIOHandOverError: CustomStringConvertible {
    /// A text for logs, on one line.
    public var description: String {
      var text = "handing a socket over: \(code)"
      if let detail { text += " (\(detail))" }
      if let underlying { text += ": \(underlying)" }
      return text
    }
  }
#endif

// SPDX-License-Identifier: Apache-2.0
#if NIO
  public import MessageSockets
  public import NIOCore
  public import NIOPosix

  extension ClientBootstrap {
    /// Gives a connected stream to SwiftNIO, which makes a channel of it.
    ///
    /// The call takes the descriptor. When it returns, SwiftNIO owns it, and closing the channel
    /// closes it. When it throws, whatever the error, the descriptor is closed, once. It is neither
    /// cancellable nor does it wait for a peer.
    ///
    /// The kind of the socket is checked before SwiftNIO sees it. SwiftNIO sets `O_NONBLOCK` on the
    /// open file, and so for every other descriptor of it, in this process and others. Bytes that
    /// have arrived and were not read come to the channel.
    ///
    /// - Parameters:
    ///   - descriptor: A stream socket of the families Unix, IPv4, IPv6 or vsock, with a peer.
    ///   - group: A `MultiThreadedEventLoopGroup`, or one of its loops.
    ///   - configure: Sets options of the bootstrap, such as
    ///     `channelOption(.autoRead, value: false)`. A `channelInitializer` that it sets is
    ///     replaced.
    ///   - initialize: Runs on the event loop before the first byte is read: adds handlers, or
    ///     wraps the channel. It must not block.
    /// - Returns: What `initialize` returned, once the channel is active.
    /// - Throws: ``NIOHandOverError``: `wrongSocketKind`, `notConnected`, `unsupportedEventLoop`,
    ///   `eventLoopShutDown`, `initializerFailed`, `channelFailed`, `system`.
    public static func adopting<Output: Sendable>(
      _ descriptor: consuming OwnedFd, on group: any EventLoopGroup,
      configure: @escaping @Sendable (ClientBootstrap) -> ClientBootstrap = { $0 },
      initialize: @escaping @Sendable (any Channel) throws -> Output
    ) async throws(NIOHandOverError) -> Output {
      let loop = group.next()
      guard ClientBootstrap(validatingGroup: loop) != nil else {
        throw NIOHandOverError(.unsupportedEventLoop)
      }
      try StreamCheck.check(descriptor, isListener: false)
      return try await LoopAttempt.run(with: descriptor, on: loop) { attempt in
        let initialization = Initialization(initialize)
        let bootstrap = configure(ClientBootstrap(group: loop)).channelInitializer {
          initialization.future(for: $0)
        }
        // On its own event loop the bootstrap makes the channel before it returns: no shutdown can
        // come in between. From here on SwiftNIO closes the descriptor.
        guard let number = attempt.takeDescriptor()?.release().rawValue else { return }
        bootstrap.withConnectedSocket(number).whenComplete {
          attempt.finish(initialization.outcome($0))
        }
      }.get()
    }

    /// Gives a connected stream to SwiftNIO, and returns its channel. See
    /// ``adopting(_:on:configure:initialize:)``, and use it where handlers must be there before the
    /// first byte is read.
    ///
    /// - Throws: ``NIOHandOverError``; the descriptor is then closed.
    public static func adopting(
      _ descriptor: consuming OwnedFd, on group: any EventLoopGroup,
      configure: @escaping @Sendable (ClientBootstrap) -> ClientBootstrap = { $0 }
    ) async throws(NIOHandOverError) -> any Channel {
      try await adopting(descriptor, on: group, configure: configure) { $0 }
    }

    /// Releases a ``UnixStream`` or ``TCPStream``, and gives it to
    /// SwiftNIO as ``adopting(_:on:configure:initialize:)`` does.
    ///
    /// Pending operations of the socket end with the error `closed`.
    ///
    /// - Throws: ``NIOHandOverError``: `notReleased`, and the socket is as `release()` leaves it:
    ///   open and yours if messages that were received ahead are unread. After every other error
    ///   the socket is closed.
    public static func adopting<Output: Sendable>(
      _ socket: some StreamSocket, on group: any EventLoopGroup,
      configure: @escaping @Sendable (ClientBootstrap) -> ClientBootstrap = { $0 },
      initialize: @escaping @Sendable (any Channel) throws -> Output
    ) async throws(NIOHandOverError) -> Output {
      let descriptor = try await released(socket)
      return try await adopting(
        descriptor, on: group, configure: configure, initialize: initialize)
    }
  }

  extension ServerBootstrap {
    /// Gives a bound and listening stream socket to SwiftNIO, which accepts its connections from
    /// then on.
    ///
    /// The call takes the descriptor. When it returns, SwiftNIO owns it, and closing the channel
    /// closes it. When it throws, whatever the error, the descriptor is closed, once; connections
    /// that wait in its backlog are then refused, unless there is another descriptor of the socket.
    ///
    /// SwiftNIO calls listen(2) again, so that the backlog is 128 afterwards, whatever it was; and
    /// it sets `O_NONBLOCK` on the open file, which all descriptors of it share. It does not remove
    /// the file of a Unix socket.
    ///
    /// - Parameters:
    ///   - descriptor: A listening stream socket of the families Unix, IPv4, IPv6 or vsock.
    ///   - group: A `MultiThreadedEventLoopGroup`, or one of its loops. One of its loops accepts.
    ///   - children: The loops of accepted connections; those of `group` if nil.
    ///   - configure: Sets options, and the `childChannelInitializer`. A `serverChannelInitializer`
    ///     that it sets is replaced.
    ///   - initialize: Runs on the event loop before the first connection is accepted. It must not
    ///     block.
    /// - Returns: What `initialize` returned, once the channel is active.
    /// - Throws: ``NIOHandOverError``: `wrongSocketKind`, `unsupportedEventLoop`,
    ///   `eventLoopShutDown`, `initializerFailed`, `channelFailed`, `system`.
    public static func adopting<Output: Sendable>(
      _ descriptor: consuming OwnedFd, on group: any EventLoopGroup,
      children: (any EventLoopGroup)? = nil,
      configure: @escaping @Sendable (ServerBootstrap) -> ServerBootstrap,
      initialize: @escaping @Sendable (any Channel) throws -> Output
    ) async throws(NIOHandOverError) -> Output {
      let loop = group.next()
      let children = children ?? group
      guard ServerBootstrap(validatingGroup: loop, childGroup: children) != nil else {
        throw NIOHandOverError(.unsupportedEventLoop)
      }
      try StreamCheck.check(descriptor, isListener: true)
      return try await LoopAttempt.run(with: descriptor, on: loop) { attempt in
        let initialization = Initialization(initialize)
        let bootstrap = configure(ServerBootstrap(group: loop, childGroup: children))
          .serverChannelInitializer { initialization.future(for: $0) }
        guard let number = attempt.takeDescriptor()?.release().rawValue else { return }
        bootstrap.withBoundSocket(number).whenComplete {
          attempt.finish(initialization.outcome($0))
        }
      }.get()
    }

    /// Gives a listening stream socket to SwiftNIO, and returns its channel. See
    /// ``adopting(_:on:children:configure:initialize:)``.
    ///
    /// - Throws: ``NIOHandOverError``; the descriptor is then closed.
    public static func adopting(
      _ descriptor: consuming OwnedFd, on group: any EventLoopGroup,
      children: (any EventLoopGroup)? = nil,
      configure: @escaping @Sendable (ServerBootstrap) -> ServerBootstrap
    ) async throws(NIOHandOverError) -> any Channel {
      try await adopting(descriptor, on: group, children: children, configure: configure) { $0 }
    }

    /// Releases a ``UnixListener`` of streams or a ``TCPListener``,
    /// and gives it to SwiftNIO as ``adopting(_:on:children:configure:initialize:)`` does.
    ///
    /// `serve` of the listener ends; the file of a Unix socket stays. The authorization and the
    /// receive policy of the listener do not go with it: SwiftNIO accepts every peer.
    ///
    /// - Throws: ``NIOHandOverError``: `notReleased`, and the listener is as `release()` leaves it.
    ///   After every other error the listener is closed.
    public static func adopting(
      _ listener: some SocketListener, on group: any EventLoopGroup,
      children: (any EventLoopGroup)? = nil,
      configure: @escaping @Sendable (ServerBootstrap) -> ServerBootstrap
    ) async throws(NIOHandOverError) -> any Channel {
      let descriptor = try await released(listener)
      return try await adopting(
        descriptor, on: group, children: children, configure: configure)
    }
  }

  private func released(_ socket: some LoopSocket) async throws(NIOHandOverError) -> OwnedFd {
    do { return try await socket.release() } catch {
      throw NIOHandOverError(.notReleased, underlying: error)
    }
  }

  /// The step of the user's closure, and what came of it. Only the event loop uses it.
  // SAFETY: @unchecked because SwiftNIO's closures are @Sendable, but all of them run on one event
  // loop.
  private final class Initialization<Output: Sendable>: @unchecked Sendable {
    private let initialize: @Sendable (any Channel) throws -> Output
    private var result: Result<Output, NIOHandOverError>?

    init(_ initialize: @escaping @Sendable (any Channel) throws -> Output) {
      self.initialize = initialize
    }

    func future(for channel: any Channel) -> EventLoopFuture<Void> {
      channel.eventLoop.makeCompletedFuture {
        do { result = .success(try initialize(channel)) } catch {
          result = .failure(NIOHandOverError(.initializerFailed, underlying: error))
          throw error
        }
        // SwiftNIO registers a channel that was closed here as if it were open. Reading an option
        // throws then.
        do { _ = try channel.syncOptions?.getOption(.autoRead) } catch {
          result = .failure(NIOHandOverError(.channelFailed, underlying: error))
          throw error
        }
      }
    }

    func outcome(_ channel: Result<any Channel, any Error>) -> Result<Output, NIOHandOverError> {
      switch (channel, result) {
      case (.success, .some(let result)): result
      case (.success, nil):
        .failure(
          NIOHandOverError(.channelFailed, detail: "SwiftNIO did not call the initializer"))
      case (.failure, .some(.failure(let error))): .failure(error)
      case (.failure(let error), _):
        .failure(NIOHandOverError(.channelFailed, underlying: error))
      }
    }
  }
#endif

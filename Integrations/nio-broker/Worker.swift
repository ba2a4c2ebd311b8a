// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSocketsNIO
import MessageSocketsTesting
import NIOCore
import NIOHTTP1
import NIOPosix
import ServiceManagement

/// Answers HTTP on the connections that the broker passes to it.
struct Worker {
  let broker: UnixSeqpacket

  /// Ends when the broker has gone.
  func run() async throws {
    try await broker.setReceivePolicy(ReceivePolicy(maximumDescriptorsPerMessage: 1))
    var ends: [EventLoopFuture<Void>] = []
    for try await message in broker.messages {
      if let descriptor = message.takeDescriptor() {
        do {
          ends.append(try await serve(descriptor))
        } catch {
          // The descriptor is closed, and the others go on.
          print("worker: \(error)")
        }
      } else {
        // The broker asks how many descriptors are open, once all connections have ended.
        for end in ends { try await end.get() }
        ends = []
        try await broker.sendMessage(Array("\(OpenDescriptors().targets.count)".utf8))
      }
    }
  }

  private func serve(
    _ descriptor: consuming OwnedFd
  ) async throws(NIOHandOverError) -> EventLoopFuture<Void> {
    try await ClientBootstrap.adopting(
      descriptor, on: MultiThreadedEventLoopGroup.singleton
    ) { channel in
      try channel.pipeline.syncOperations.configureHTTPServerPipeline()
      try channel.pipeline.syncOperations.addHandler(Answer())
      return channel.closeFuture
    }
  }
}

/// Answers every request with the number of the process.
private final class Answer: ChannelInboundHandler, Sendable {
  typealias InboundIn = HTTPServerRequestPart
  typealias OutboundOut = HTTPServerResponsePart

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    guard case .end = Self.unwrapInboundIn(data) else { return }
    let body = ByteBuffer(string: "answered by process \(getpid())\n")
    let headers: HTTPHeaders = [
      "content-length": "\(body.readableBytes)", "connection": "close",
    ]
    let head = HTTPResponseHead(version: .http1_1, status: .ok, headers: headers)
    context.write(Self.wrapOutboundOut(.head(head)), promise: nil)
    context.write(Self.wrapOutboundOut(.body(.byteBuffer(body))), promise: nil)
    let channel = context.channel
    context.writeAndFlush(Self.wrapOutboundOut(.end(nil))).whenComplete { _ in
      channel.close(promise: nil)
    }
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    context.close(promise: nil)
  }
}

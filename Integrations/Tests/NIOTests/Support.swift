// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSocketsNIO
import MessageSocketsTesting
import NIOCore
import NIOPosix
import Synchronization
import SystemPackage
import Testing

let group = MultiThreadedEventLoopGroup.singleton

/// Runs `body`, and compares the open descriptors of the process before and after.
func withCheck<R>(_ body: () async throws -> R) async throws -> R {
  // The loops of SwiftNIO have descriptors of their own, which do not count.
  for loop in group.makeIterator() { try await loop.submit {}.get() }
  return try await withDescriptorCheck(body)
}

/// The code of the error that `body` throws.
func codeThrown(
  _ body: () async throws -> Void, at location: SourceLocation = #_sourceLocation
) async -> NIOHandOverError.Code? {
  do {
    try await body()
    return nil
  } catch let error as NIOHandOverError {
    #expect(error.description.contains(error.code.description), sourceLocation: location)
    return error.code
  } catch {
    Issue.record(error, sourceLocation: location)
    return nil
  }
}

/// Sends back what arrives, and collects it.
final class Echo: ChannelInboundHandler, Sendable {
  typealias InboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  let received = Mutex<[UInt8]>([])

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    let bytes = Self.unwrapInboundIn(data)
    received.withLock { $0 += Array(bytes.readableBytesView) }
    context.writeAndFlush(data, promise: nil)
  }
}

/// Receives until `count` bytes are there.
func receive(_ count: Int, from socket: some StreamSocket) async throws -> [UInt8] {
  var bytes: [UInt8] = []
  while bytes.count < count, let message = try await socket.receiveMessage() {
    bytes += message.payload
  }
  return bytes
}

/// A connected pair of TCP sockets.
func makeTCPPair() async throws -> (TCPStream, TCPStream) {
  let listener = try TCPListener.bind(to: InternetAddress(.loopback, port: 0))
  let address = try #require(try await listener.localAddress()?.internet)
  async let accepted = listener.accept()
  let client = try await TCPStream.connect(to: address)
  let pair = (client, try await accepted)
  await listener.close()
  return pair
}

/// Whether `O_NONBLOCK` is set on the open file.
func isNonBlocking(_ descriptor: borrowing OwnedFd) -> Bool {
  descriptor.withUnsafeFileDescriptor { fcntl($0.rawValue, F_GETFL) & O_NONBLOCK != 0 }
}

/// Whether the descriptor is close-on-exec.
func isCloseOnExec(_ descriptor: borrowing OwnedFd) -> Bool {
  descriptor.withUnsafeFileDescriptor { fcntl($0.rawValue, F_GETFD) & FD_CLOEXEC != 0 }
}

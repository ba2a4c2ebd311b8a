// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import CMessageSockets
internal import SocketEngine
internal import SystemPackage

extension SocketChannel {
  /// Two Unix sockets that are connected to each other. The C name is socketpair(2).
  static func makePair(_ kind: SocketKind, on loop: IOLoop?) throws(SocketError) -> (
    SocketChannel, SocketChannel
  ) {
    let loop = try IOLoop.resolve(loop)
    var first: Int32 = -1
    var second: Int32 = -1
    // SAFETY: the call writes two numbers, into locals.
    let result = unsafe cms_unix_socketpair(kind.type, &first, &second)
    guard result == 0 else { throw SocketError(result: result, .createSocket) }
    return (
      SocketChannel(
        adopting: OwnedFd(adopting: FileDescriptor(rawValue: first)), kind: kind, loop: loop),
      SocketChannel(
        adopting: OwnedFd(adopting: FileDescriptor(rawValue: second)), kind: kind, loop: loop)
    )
  }
}

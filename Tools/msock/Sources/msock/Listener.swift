// SPDX-License-Identifier: Apache-2.0
import MessageSockets

/// A listener for connections of either kind.
enum Listener {
  case stream(UnixListener<UnixStream>)
  case seqpacket(UnixListener<UnixSeqpacket>)

  static func bind(
    to address: UnixAddress, seqpacket: Bool, removesFile: Bool = true,
    policy: ReceivePolicy = ReceivePolicy(), on loop: IOLoop
  ) throws -> Listener {
    let binding = UnixBinding(removesFile: removesFile)
    do throws(SocketError) {
      return seqpacket
        ? .seqpacket(try .bind(to: address, binding: binding, policy: policy, on: loop))
        : .stream(try .bind(to: address, binding: binding, policy: policy, on: loop))
    } catch {
      throw Failure(error.code == .notPermitted ? .notPermitted : .cannotBind, "\(error)")
    }
  }

  func accept() async throws -> Connection {
    switch self {
    case .stream(let listener): .stream(try await listener.accept())
    case .seqpacket(let listener): .seqpacket(try await listener.accept())
    }
  }

  func release() async throws -> OwnedFd {
    switch self {
    case .stream(let listener): try await listener.release()
    case .seqpacket(let listener): try await listener.release()
    }
  }

  func close() async {
    switch self {
    case .stream(let listener): await listener.close()
    case .seqpacket(let listener): await listener.close()
    }
  }
}

// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets
import Testing

@testable import SocketEngine

/// The kinds of vsock connections, for tests that apply to both. Pairs of them are connected over
/// the loopback transport.
enum VsockKind: CaseIterable, Sendable {
  case stream, seqpacket

  func makePair(settings: [SocketSetting] = [], on loop: IOLoop) async throws -> (
    any VsockConnection, any VsockConnection
  ) {
    switch self {
    case .stream: try await VsockStream.makePair(settings: settings, on: loop)
    case .seqpacket: try await VsockSeqpacket.makePair(settings: settings, on: loop)
    }
  }
}

extension VsockConnection {
  /// - Parameter settings: The settings of the listener, which the second socket inherits.
  static func makePair(settings: [SocketSetting] = [], on loop: IOLoop) async throws -> (Self, Self)
  {
    let listener = try VsockListener<Self>.bind(
      to: VsockAddress(.any, port: VsockAddress.anyPort), settings: settings, on: loop)
    let left = try await connect(
      to: VsockAddress(.local, port: listener.address.port), on: loop)
    let right = try await listener.accept()
    await listener.close()
    return (left, right)
  }
}

/// What this machine has of vsock, found once, without the library: a faulty library must not
/// disable its tests.
enum VsockLoopback {
  static let familyExists = {
    let number = socket(AF_VSOCK, Int32(SOCK_STREAM.rawValue), 0)
    if number >= 0 { close(number) }
    return number >= 0
  }()

  /// Whether it is a virtual machine whose transport leads to a host.
  static let isGuest: Bool = {
    guard familyExists, let context = try? VsockContextID.ofThisMachine() else { return false }
    return context.rawValue >= 3 && context != .any
  }()

  static let isMissing: Comment = "vsock_loopback is not loaded: no transport answers at context 1"
  static let hasNoSeqpacket: Comment = "no vsock seqpacket sockets here (Linux 5.14; io_uring: 6.0)"

  /// The kinds of which a connection to this machine itself can be made.
  static let kinds: [VsockKind] = {
    var kinds: [VsockKind] = []
    if answers(Int32(SOCK_STREAM.rawValue)) { kinds.append(.stream) }
    let isOldRing = TestLoop.isOnRing && !TestLoop.receivesAhead
    if answers(Int32(SOCK_SEQPACKET.rawValue)), !isOldRing { kinds.append(.seqpacket) }
    return kinds
  }()

  static let hasSeqpacket = kinds.contains(.seqpacket)

  /// Connects to a listener of this process, and waits for the answer for at most half a second:
  /// where there is no loopback transport, another one takes the request, and is silent.
  private static func answers(_ type: Int32) -> Bool {
    let listener = socket(AF_VSOCK, type, 0)
    let client = socket(AF_VSOCK, type, 0)
    defer {
      close(listener)
      close(client)
    }
    guard listener >= 0, client >= 0 else { return false }
    // A `struct timeval`: with optimisation, the compiler does not find that type's module here.
    var timeout: (seconds: Int, microseconds: Int) = (0, 500_000)
    setsockopt(client, AF_VSOCK, 6, &timeout, UInt32(MemoryLayout.size(ofValue: timeout)))
    func pass(
      _ address: VsockAddress,
      to call: (Int32, UnsafePointer<sockaddr>, UInt32) -> Int32, _ number: Int32
    ) -> Bool {
      address.withSocketAddressBytes { span in
        span.withUnsafeBytes {
          call(number, $0.baseAddress!.assumingMemoryBound(to: sockaddr.self), 16) == 0
        }
      }
    }
    // A port that no test uses.
    let port = UInt32(0x4000_0000) + UInt32(getpid())
    return pass(VsockAddress(.any, port: port), to: { bind($0, $1, $2) }, listener)
      && listen(listener, 1) == 0
      && pass(VsockAddress(.local, port: port), to: { connect($0, $1, $2) }, client)
  }
}

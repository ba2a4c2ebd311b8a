// SPDX-License-Identifier: Apache-2.0
internal import Harness
internal import MessageSockets

/// A kind of socket that can be measured.
protocol BenchSocket: UnixSocket {
  /// Two sockets that are connected to each other.
  static func makePair(on loop: IOLoop?) throws(SocketError) -> (Self, Self)

  /// Performs the configured benchmark with sockets of this kind.
  static func run(_ bench: Bench<Self>) async throws -> Duration
}

extension UnixStream: BenchSocket {}
extension UnixSeqpacket: BenchSocket {}

extension BenchSocket where Self: UnixConnection {
  static func run(_ bench: Bench<Self>) async throws -> Duration {
    switch bench.options.mode {
    case .pingpong, .twothreads: try await bench.pingpong()
    case .twoprocesses: try await bench.acrossProcesses()
    case .oneway: try await bench.oneway()
    case .idle: try await bench.idle()
    case .accept: try await bench.accept()
    case .cancel: try await bench.cancel()
    case .perside: throw Failure("no perside mode (see --help)")
    }
  }
}

extension UnixDatagram: BenchSocket {
  static func run(_ bench: Bench<UnixDatagram>) async throws -> Duration {
    switch bench.options.mode {
    case .pingpong, .twothreads: try await bench.pingpong()
    case .cancel: try await bench.cancel()
    default: throw Failure("no \(bench.options.mode) mode for datagrams")
    }
  }
}

// SPDX-License-Identifier: Apache-2.0
// What the comparison measures of Handover.swift. See ../../../README.md.
import Foundation
import MessageSockets

@main
struct Worker {
  static func main() async throws { try await IOLoop().run(run) }

  @concurrent static func run() async throws {
    let arguments = CommandLine.arguments.dropFirst()
    switch arguments.first {
    case "cancel": try await cancelRounds(Int(arguments.last!)!)
    case "control": try await control(peer())
    default:
      let peer = try await peer()
      while try await serve(peer) {}
    }
  }

  static func peer() async throws -> UnixStream {
    let peer = try UnixStream(adopting: OwnedFd(adopting: FileDescriptor(rawValue: 3)))
    try await peer.setReceivePolicy(policy)
    return peer
  }

  static func cancelRounds(_ count: Int) async throws {
    let listener = try await TCPListener.bind(
      to: InternetAddress(.loopback as IPv4Address, port: 0)
    ).release()
    var (received, left, lost, before) = (0, 0, 0, 0)
    // The first round opens what the runtime needs.
    for round in 0...count {
      if round == 1 { (received, left, lost, before) = (0, 0, 0, openDescriptors()) }
      let (client, service) = try UnixStream.makePair()
      try await service.setReceivePolicy(policy)
      let task = Task { try await receive(from: service) }
      await spin(for: .microseconds(20))
      try await pass(listener, to: client)
      await spin(for: .nanoseconds(round * 7919 % 100_000))
      task.cancel()
      do {
        let listener = try await task.value
        received += 1
        await listener?.close()
      } catch is CancellationError {
        await client.close()
        if let listener = try await receive(from: service) {
          left += 1
          await listener.close()
        } else {
          lost += 1
        }
      }
      await client.close()
      await service.close()
    }
    let leaked = openDescriptors() - before
    print(
      #"{"received": \#(received), "left": \#(left), "lost": \#(lost), "leaked": \#(leaked)}"#)
  }

  static func spin(for duration: Duration) async {
    let limit = ContinuousClock.now + duration
    while ContinuousClock.now < limit { await Task.yield() }
  }

  static func control(_ peer: UnixStream) async throws {
    let before = openDescriptors()
    var flags: [Int32] = []
    for _ in 0..<2 {
      // The library has one way only.
      let listener = try await receive(from: peer)!.release()
      flags.append(listener.withUnsafeFileDescriptor { fcntl($0.rawValue, F_GETFD) & FD_CLOEXEC })
    }
    var outcome = "received"
    do { _ = try await receive(from: peer) } catch let error as SocketError {
      outcome = error.detail ?? "\(error.code)"
    }
    // What a policy does not admit is closed on another thread.
    for _ in 0..<1000 where openDescriptors() > before {
      try await Task.sleep(for: .milliseconds(1))
    }
    let leaked = openDescriptors() - before
    print(
      #"{"cloexec": \#(flags[0]), "plain_cloexec": \#(flags[1]), "three": "\#(outcome)", "#
        + #""leaked": \#(leaked), "plain_leaked": \#(leaked)}"#)
  }

  /// Timers of Swift's thread pool are not counted.
  static func openDescriptors() -> Int {
    let numbers = try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd")
    return (numbers ?? []).count {
      let target = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/\($0)")
      return target != nil && target != "anon_inode:[timerfd]"
    }
  }
}

// SPDX-License-Identifier: Apache-2.0
import CMessageSockets
import MessageSockets
import SystemPackage

@testable import SocketEngine

/// One input: a real pair of sockets, one end on a loop, the other controlled by a hostile peer.
enum PeerRun {
  static func run(_ input: Input) {
    let loop = input.choose(Loops.all)
    let before = SimulatedFiles.open()
    Turnstile.wait(on: loop) { await converse(input, on: loop) }
    // A socket that was dropped during a multishot receive closes a moment later.
    checkDescriptors(are: before)
  }

  private static func converse(_ input: Input, on loop: IOLoop) async {
    let kind = input.choose([SocketKind.stream, .seqpacket, .datagram])
    var numbers: (Int32, Int32) = (-1, -1)
    check(cms_unix_socketpair(kind.type, &numbers.0, &numbers.1) == 0, "no descriptors left")
    let conversation = Conversation(input, kind: kind, peer: numbers.0, receiver: numbers.1)
    let descriptor = OwnedFd(adopting: FileDescriptor(rawValue: numbers.1))
    do {
      switch kind {
      case .stream: try await conversation.run(UnixStream(adopting: descriptor, on: loop))
      case .seqpacket: try await conversation.run(UnixSeqpacket(adopting: descriptor, on: loop))
      case .datagram: try await conversation.run(UnixDatagram(adopting: descriptor, on: loop))
      }
    } catch {
      fatalError("\(error)")
    }
    while await loop.operationsInKernel > 0 { await Task.yield() }
    let inUse = await loop.operationsInUse
    check(inUse == 0, "\(inUse) operations were not given back")
  }
}

/// Runs a task on a loop, and blocks the thread until the task ends.
enum Turnstile {
  static func wait(on loop: IOLoop, _ body: @escaping @Sendable () async -> Void) {
    let gate = cms_gate_create()!
    let opened = Gate(gate: gate)
    Task(executorPreference: loop.taskExecutor) {
      await body()
      cms_gate_open(opened.gate)
    }
    cms_gate_wait(gate)
    cms_gate_destroy(gate)
  }

  /// `@unchecked Sendable`: any thread may open a gate.
  private struct Gate: @unchecked Sendable { let gate: OpaquePointer }
}

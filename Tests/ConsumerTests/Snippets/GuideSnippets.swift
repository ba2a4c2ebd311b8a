// SPDX-License-Identifier: Apache-2.0
import MessageSockets
import Synchronization
import Testing

/// Code of the guides, compiled and run; see ``DocumentationTests``.
@Suite struct GuideSnippets {
  @Test func choosingASocket() async throws {
    // begin ChoosingASocket
    let (left, right) = try UnixSeqpacket.makePair()
    try await left.sendMessage(Array("ready".utf8))
    let message = try await right.receiveMessage()
    // end
    #expect(message?.payload == Array("ready".utf8))
  }

  @Test func loopsAndThreads() async throws {
    // begin LoopsAndThreads
    let loop = try IOLoop()
    try await loop.run {
      let (left, right) = try UnixSeqpacket.makePair()
      try await left.sendMessage([1])
      _ = try await right.receiveMessage()
    }
    await loop.shutdown()
    // end
  }

  @Test func handlingErrors() async throws {
    let (socket, peer) = try UnixSeqpacket.makePair()
    await peer.close()
    let request: [UInt8] = [1]
    let reconnections = Mutex(0)
    func retryLater() { Issue.record("the peer is gone, which does not pass") }
    func reconnect() { reconnections.withLock { $0 += 1 } }
    // begin HandlingErrors
    do {
      try await socket.sendMessage(request)
    } catch let error as SocketError {
      switch error.code {
      case .tooManyInFlight, .outOfDescriptors, .outOfMemory: retryLater()
      case .peerClosed, .connectionReset, .closed: reconnect()
      default: throw error
      }
    }
    // end
    #expect(reconnections.withLock { $0 } == 1)
  }

  @Test func deadlines() async throws {
    let (socket, peer) = try UnixSeqpacket.makePair()
    try await peer.sendMessage([7])
    // begin HandlingErrors
    let answer = try await socket.receiveMessage(deadline: .now + .seconds(2))
    // end
    #expect(answer?.payload == [7])
  }

  @Test func noncopyableValues() async throws {
    let (socket, peer) = try UnixSeqpacket.makePair()
    let file = try FileDescriptor.open("/dev/null", .writeOnly, options: .closeOnExec)
    let log = OwnedFd(adopting: file)
    try await peer.sendMessage([0], descriptor: log)
    // begin NoncopyableValues
    let message = try await socket.receiveMessage()
    let worker = Task { message?.takeDescriptor() != nil }
    // end
    #expect(await worker.value)

    var descriptors = OwnedFds()
    descriptors.append(try log.duplicate())
    let box = DescriptorBox(descriptors)
    let (first, second) = (box.take().count, box.take().count)
    #expect((first, second) == (1, 0))
    try Session(log: log).record("started\n")
  }
}

// begin NoncopyableValues
struct Session: ~Copyable {
  private let log: OwnedFd

  init(log: consuming OwnedFd) { self.log = log }

  borrowing func record(_ line: String) throws {
    try log.withUnsafeFileDescriptor { _ = try $0.writeAll(line.utf8) }
  }
}
// end

// begin NoncopyableValues
final class DescriptorBox: Sendable {
  private let content: Mutex<OwnedFds>

  init(_ descriptors: consuming OwnedFds) { content = Mutex(descriptors) }

  func take() -> OwnedFds {
    content.withLock { descriptors in
      var taken = OwnedFds()
      swap(&taken, &descriptors)
      return taken
    }
  }
}
// end

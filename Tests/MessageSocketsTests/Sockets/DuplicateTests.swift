// SPDX-License-Identifier: Apache-2.0
import Ancillary
import Glibc
import MessageSockets
import SystemPackage
import Testing

@testable import SocketEngine

extension KernelTests {
  /// `duplicate()`: another descriptor of a socket that is in use.
  @Suite(.timeLimit(.minutes(2))) struct Duplicating {
    @Test(arguments: TestedSocket.allCases) func aDuplicateIsTheSameOpenFile(socket: TestedSocket)
      async throws
    {
      try await withDescriptorOracle { loop in
        let (left, right) = try await socket.makePair()
        let before = await loop.operationsInUse
        let receiving = Task(executorPreference: loop.taskExecutor) {
          try await right.receiveMessage()?.payload
        }
        await untilTasksWait(before + 1, on: loop)
        let copy = try await right.duplicate()
        let isCloseOnExec = copy.isCloseOnExec
        #expect(isCloseOnExec)
        let own = try right.channel.number(for: .query)
        let number = copy.withUnsafeFileDescriptor { $0.rawValue }
        #expect(number != own)
        #expect(inode(own) == inode(number))
        // No operation of the socket has ended.
        try await left.sendMessage([1])
        #expect(try await receiving.value == [1])
        await left.close()
        await right.close()
        #expect(await codeThrown { _ = try await right.duplicate() } == .closed)
      }
    }

    /// A successor takes over the listener while the old server still serves: every client is
    /// served.
    @Test func aListenerIsPassedOnWhileItServes() async throws {
      try await withDescriptorOracle { loop in
        let address = try UnixAddress(abstract: "message-sockets-duplicate-\(getpid())")
        let old = try UnixListener<UnixSeqpacket>.bind(to: address)
        let oldServer = Task { try await old.serve { try await answer(1, $0) } }
        #expect(try await ask(address) == 1)

        // As in a message to another process.
        let (control, successor) = try UnixSeqpacket.makePair()
        try await control.sendMessage([0], descriptor: try await old.duplicate())
        let message = try #require(try await successor.receiveMessage())
        guard let passed = message.takeDescriptor() else {
          Issue.record("the listener did not arrive")
          return
        }
        let new = try UnixListener<UnixSeqpacket>(adopting: passed)
        let newServer = Task { try await new.serve { try await answer(2, $0) } }
        #expect([1, 2].contains(try await ask(address)))

        oldServer.cancel()
        try await oldServer.value
        for _ in 0..<10 { #expect(try await ask(address) == 2) }
        newServer.cancel()
        try await newServer.value
        #expect(
          await codeThrown { _ = try await UnixSeqpacket.connect(to: address) }
            == .connectionRefused)
      }
    }

    /// The effect that the documentation warns about.
    @Test func aDuplicateHidesTheHangUp() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixStream.makePair()
        let copy = try await left.duplicate()
        await left.close()
        #expect(
          await codeThrown { _ = try await right.receiveMessage(options: .doNotWait) }
            == .wouldBlock)
        try copy.close()
        #expect(try await right.receiveMessage() == nil)
        await right.close()
      }
    }

    @Test func withoutAFreeDescriptorItFails() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixStream.makePair()
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        var low = limit
        low.rlim_cur = 1
        setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &low)
        let code = await codeThrown { _ = try await left.duplicate() }
        setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        #expect(code == .outOfDescriptors)
        try await left.sendMessage([1])
        #expect(try await right.receiveMessage()?.payload == [1])
        await left.close()
        await right.close()
      }
    }
  }
}

private func inode(_ number: Int32) -> [UInt64] {
  var status = stat()
  guard fstat(number, &status) == 0 else { return [] }
  return [UInt64(status.st_dev), UInt64(status.st_ino)]
}

private func answer(_ name: UInt8, _ connection: UnixSeqpacket) async throws {
  for try await _ in connection.messages.untilDraining() {
    try await connection.sendMessage([name])
  }
}

private func ask(_ address: UnixAddress) async throws -> UInt8? {
  let client = try await UnixSeqpacket.connect(to: address)
  try await client.sendMessage([0])
  let name = try await client.receiveMessage()?.payload.first
  await client.close()
  return name
}

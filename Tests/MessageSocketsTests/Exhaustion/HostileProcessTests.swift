// SPDX-License-Identifier: Apache-2.0
import MessageSockets
import SystemPackage
import Testing

@testable import SocketEngine

extension KernelTests {
  /// A malicious process at the other end (`Tests/Interop/hostile_peer.py`): the number of
  /// descriptors stays within the documented bounds, another client is served in the meantime, and
  /// nothing of the malicious process remains.
  @Suite(
    .enabled(if: ForeignPeer.python.isAvailable, "python3 3.9 or newer is not installed"),
    .timeLimit(.minutes(1)))
  struct HostileProcesses {
    // MARK: Descriptors without end

    /// Below 253, nothing is received ahead: only messages that the program has asked for hold
    /// descriptors.
    @Test func aFloodWithoutAWindowIsTakenMessageByMessage() async throws {
      try await withHostilePeer(UnixSeqpacket.self, ["flood"], ["200", "253"]) { hostile, honest in
        let before = openDescriptors().count
        try await takeFlood(
          hostile, messages: 200, descriptors: 253, window: ReceiveWindow(descriptors: 1)
        ) { held in
          #expect(openDescriptors().count == before + held)
          try await honest.roundTrip()
        }
      }
    }

    /// The bound is the window, plus the messages in progress when it became full: at most as many
    /// as the loop has buffers.
    @Test func aFloodIsTakenWithinTheWindow() async throws {
      var configuration = IOLoop.Configuration()
      configuration.receiveBuffers = 2
      // Four messages of 64 fill the window, two more may be in progress, and the test holds one.
      let bound = 4 * 64 + 2 * 64 + 64
      try await withOwnLoop(configuration) { loop in
        try await loop.run {
          try await withHostile(UnixSeqpacket.self, ["flood"], ["300", "64"]) { hostile, honest in
            let before = openDescriptors().count
            var highest = 0
            try await takeFlood(
              hostile, messages: 300, descriptors: 64, window: ReceiveWindow(descriptors: 253)
            ) { held in
              highest = max(highest, openDescriptors().count - before)
              try await honest.roundTrip()
            }
            #expect(highest <= bound)
            // The window was used, if there is one.
            #expect(!loop.driver.receivesAhead || highest > 64)
          }
        }
      }
    }

    private func takeFlood(
      _ hostile: UnixSeqpacket, messages: Int, descriptors: Int, window: ReceiveWindow,
      _ look: (Int) async throws -> Void
    ) async throws {
      var number = 0
      for try await message in hostile.messages(window: window) {
        #expect(message.payload == withUnsafeBytes(of: UInt32(number).littleEndian) { Array($0) })
        #expect(message.outcome == .complete)
        #expect(message.descriptorCount == descriptors)
        try await look(message.descriptorCount)
        withExtendedLifetime(message) {}
        number += 1
      }
      #expect(number == messages)
    }

    @Test func fifosThatNobodyServesAreClosedWithoutWaiting() async throws {
      try await withHostilePeer(UnixSeqpacket.self, ["fifos"], []) { hostile, honest in
        let message = try #require(try await hostile.receiveMessage())
        #expect(message.descriptorCount == 253)
        let facts = message.takeDescriptor()?.facts
        #expect(facts?.kind == .pipe)
        try await honest.roundTrip()
        // Dropping the message closes the other 252.
      }
    }

    // MARK: Half a message, and none

    @Test func halfAFrameHoldsUpNobody() async throws {
      try await withHostilePeer(UnixStream.self, ["half"], []) { hostile, honest in
        let half = try #require(try await hostile.receiveMessage())
        #expect(half.payload.count == 10)
        #expect(half.descriptorCount == 2)
        for _ in 0..<100 { try await honest.roundTrip() }
        let deadline = Deadline.now + .milliseconds(5)
        #expect(
          await codeThrown { _ = try await hostile.receiveMessage(deadline: deadline) }
            == .deadlineExceeded)
        await hostile.close()
      }
    }

    /// Forty sends wait for room that never comes. Another client is served, and each send can be
    /// cancelled.
    @Test func peersThatNeverReadHoldUpNobody() async throws {
      let count = 40
      try await withTemporaryPath { path in
        try await withDescriptorOracle { loop in
          let listener = try UnixListener<UnixStream>.bind(to: UnixAddress(path: path))
          try await runHostile(["deaf", path.string, "\(count)"]) {
            var deaf: [UnixStream] = []
            for _ in 0..<count { deaf.append(try await listener.accept()) }
            let honest = try await HonestClient(listener, path)
            let sends = deaf.map { connection in
              Task(executorPreference: loop.taskExecutor) {
                await errorThrown {
                  try await connection.sendMessage(
                    [UInt8](repeating: 1, count: 8 << 20), descriptor: try .numbered(1))
                }
              }
            }
            await untilSendsStall(on: loop)
            for _ in 0..<100 { try await honest.roundTrip() }
            for send in sends { send.cancel() }
            for send in sends {
              let error = await send.value
              #expect(error?.code == .partialSend)
              #expect(error.map { $0.bytesSent > 0 && $0.bytesSent < 8 << 20 } == true)
            }
            for connection in deaf { await connection.close() }
            await honest.close()
            await listener.close()
          }
        }
      }
    }

    // MARK: Cut connections

    @Test(arguments: [false, true]) func aFrameCutAtEachByte(receivesAhead: Bool) async throws {
      let length = 24
      try await withTemporaryPath { path in
        try await withDescriptorOracle { loop in
          let listener = try UnixListener<UnixStream>.bind(to: UnixAddress(path: path))
          let honest = try await HonestClient(listener, path)
          try await runHostile(["cut", path.string, "\(length)"]) {
            for cut in 0...length {
              let connection = try await listener.accept()
              let (bytes, descriptors, error) = try await receiveFrame(
                connection, length, receivesAhead)
              #expect(descriptors == (cut == 0 ? 0 : 2))
              #expect(bytes == Array([UInt8(length - 1)] + (1..<UInt8(length))).prefix(cut))
              // A peer that leaves our greeting unread resets the connection; the reset comes after
              // its data.
              #expect(error == (cut % 2 == 0 || cut == length ? nil : .connectionReset))
              try await honest.roundTrip()
              await connection.close()
            }
            await honest.close()
            await listener.close()
          }
        }
      }
    }

    /// Receives like a program that reads frames: until it has one, or finds the end or an error.
    private func receiveFrame(
      _ connection: UnixStream, _ length: Int, _ receivesAhead: Bool
    ) async throws -> (ArraySlice<UInt8>, Int, SocketError.Code?) {
      var bytes: ArraySlice<UInt8> = []
      var descriptors = 0
      let code = await codeThrown {
        try await connection.sendMessage([0])
        var iterator = connection.messages.makeAsyncIterator()
        while bytes.count < length,
          let message = receivesAhead
            ? try await iterator.next() : try await connection.receiveMessage()
        {
          bytes += message.payload
          descriptors += message.descriptorCount
        }
      }
      return (bytes, descriptors, code)
    }

    // MARK: Both sides

    private func withHostilePeer<Socket: UnixConnection>(
      _: Socket.Type, _ way: [String], _ numbers: [String],
      _ body: (Socket, HonestClient<Socket>) async throws -> Void
    ) async throws {
      try await withDescriptorOracle { _ in try await withHostile(Socket.self, way, numbers, body) }
    }

    private func withHostile<Socket: UnixConnection>(
      _: Socket.Type, _ way: [String], _ numbers: [String],
      _ body: (Socket, HonestClient<Socket>) async throws -> Void
    ) async throws {
      try await withTemporaryPath { path in
        let listener = try UnixListener<Socket>.bind(to: UnixAddress(path: path))
        try await runHostile(way + [path.string] + numbers) {
          let hostile = try await listener.accept()
          let honest = try await HonestClient(listener, path)
          try await body(hostile, honest)
          await hostile.close()
          await honest.close()
          await listener.close()
        }
      }
    }

    private func runHostile(_ words: [String], _ body: () async throws -> Void) async throws {
      try await ChildProcess.run(["python3", ForeignPeer.script("hostile_peer.py")] + words) { _ in
        try await body()
      }
    }
  }
}

/// A well-behaved client of the same listener, and the server's end of its connection.
private struct HonestClient<Socket: UnixConnection> {
  let client: Socket
  let served: Socket

  init(_ listener: UnixListener<Socket>, _ path: FilePath) async throws {
    client = try await Socket.connect(to: UnixAddress(path: path))
    served = try await listener.accept()
  }

  /// Sends a request with a descriptor, and receives its answer.
  func roundTrip() async throws {
    try await client.sendMessage([1], descriptor: try .numbered(5))
    let request = try #require(try await served.receiveMessage())
    let descriptors = request.takeDescriptors()
    try await served.sendMessage(request.payload, descriptors: descriptors.span)
    #expect(try await client.receiveMessage()?.takeDescriptor()?.number == 5)
  }

  func close() async {
    await client.close()
    await served.close()
  }
}

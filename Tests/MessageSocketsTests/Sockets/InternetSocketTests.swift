// SPDX-License-Identifier: Apache-2.0
import MessageSockets
import SystemPackage
import Testing

@testable import SocketEngine

/// TCP and UDP with the real kernel, on the loopback interface.
extension KernelTests {
  @Suite struct InternetSockets {
    static let loopbacks: [InternetAddress] = [
      InternetAddress(.loopback as IPv4Address, port: 0),
      InternetAddress(.loopback as IPv6Address, port: 0),
    ]

    // MARK: TCP

    @Test(arguments: loopbacks) func aTCPConnectionCarriesBytesBothWays(address: InternetAddress)
      async throws
    {
      try await withDescriptorOracle { _ in
        let listener = try TCPListener.bind(to: address)
        #expect(listener.address.port != 0)
        async let accepted = listener.accept()
        let client = try await TCPStream.connect(to: listener.address)
        let server = try await accepted
        let serverName = try await server.peerAddress()
        #expect(try await client.localAddress() == serverName)
        try await client.setOption(.noDelay, to: true)
        #expect(try await client.option(.noDelay))

        let payload = [UInt8]((0..<1_000_000).map { UInt8(truncatingIfNeeded: $0) })
        async let sent: Void = {
          try await client.sendMessage(payload)
          try await client.shutdown(.sending)
        }()
        var received: [UInt8] = []
        for try await message in server.messages {
          #expect(message.sender == nil)
          received += message.payload
        }
        try await sent
        #expect(received == payload)
        try await server.sendMessage([7])
        #expect(try await client.receiveMessage()?.payload == [7])
        await listener.close()
      }
    }

    @Test func connectingWhereNobodyListensIsRefused() async throws {
      try await withDescriptorOracle { _ in
        let listener = try TCPListener.bind(to: Self.loopbacks[0])
        let address = listener.address
        await listener.close()
        let error = try #require(await errorThrown { _ = try await TCPStream.connect(to: address) })
        #expect(error.code == .connectionRefused)
        #expect(error.address?.internet == address)
      }
    }

    /// A listener with a full queue does not answer, so the connection is pending until it is
    /// cancelled.
    @Test func aConnectionThatIsUnderWayIsCancelled() async throws {
      try await withDescriptorOracle { loop in
        let listener = try TCPListener.bind(to: Self.loopbacks[0], backlog: 0)
        var established: [TCPStream] = []
        var task: Task<TCPStream, any Error>
        repeat {
          let address = listener.address
          task = Task(executorPreference: loop.taskExecutor) {
            try await TCPStream.connect(to: address)
          }
          // A connection to a queue with room is established within a few turns of the loop.
          for _ in 0..<200 { await Task.yield(); _ = await loop.operationsInKernel }
          if await loop.operationsInKernel > 0 { break }
          established.append(try await task.value)
        } while established.count < 8
        #expect(await loop.operationsInKernel == 1)
        task.cancel()
        await #expect(throws: CancellationError.self) { _ = try await task.value }
        await listener.close()
      }
    }

    @Test func resetByThePeerIsAnError() async throws {
      try await withDescriptorOracle { _ in
        let listener = try TCPListener.bind(to: Self.loopbacks[0])
        async let accepted = listener.accept()
        let client = try await TCPStream.connect(to: listener.address)
        let server = try await accepted
        try await client.sendMessage([1])
        // Closed with unread data, so TCP resets the connection.
        #expect(try await server.receiveMessage(options: .peek)?.payload == [1])
        await server.close()
        #expect(await codeThrown { _ = try await client.receiveMessage() } == .connectionReset)
        await listener.close()
      }
    }

    @Test func aBusyPortSaysSo() async throws {
      try await withDescriptorOracle { _ in
        let listener = try TCPListener.bind(to: Self.loopbacks[0])
        let error = try #require(
          await errorThrown { _ = try TCPListener.bind(to: listener.address) })
        #expect(error.code == .addressInUse)
        #expect("\(error)".contains("127.0.0.1"))
        let nobodys = InternetAddress(IPv4Address(192, 0, 2, 1), port: 0)
        #expect(await codeThrown { _ = try TCPListener.bind(to: nobodys) } == .addressNotAvailable)
        await listener.close()
      }
    }

    // MARK: UDP

    @Test(arguments: loopbacks, [false, true]) func aDatagramSaysWhereItCameFrom(
      address: InternetAddress, receivesAhead: Bool
    ) async throws {
      try await withDescriptorOracle { _ in
        let server = try UDPSocket.bind(to: address)
        let client = try UDPSocket.bind(to: address)
        let serverAddress = try #require(try await server.localAddress()?.internet)
        let clientAddress = try #require(try await client.localAddress()?.internet)
        try await client.sendMessage([1, 2, 3], to: serverAddress)
        try await client.sendMessage([], to: serverAddress)
        var iterator = server.messages.makeAsyncIterator()
        let message = try #require(
          receivesAhead ? try await iterator.next() : try await server.receiveMessage())
        #expect(message.payload == [1, 2, 3])
        #expect(message.sender?.internet == clientAddress)
        let empty = try #require(
          receivesAhead ? try await iterator.next() : try await server.receiveMessage())
        #expect(empty.payload == [])
        #expect(empty.sender?.internet == clientAddress)
        try await server.sendMessage([4], to: clientAddress)
        #expect(try await client.receiveMessage()?.payload == [4])
      }
    }

    @Test func whatWasAttachedToAPacketComesWithIt() async throws {
      try await withDescriptorOracle { _ in
        let server = try UDPSocket.bind(to: Self.loopbacks[0])
        try await server.setOption(.packetInfoV4, to: true)
        try await server.setOption(.receiveHopLimitV4, to: true)
        try await server.setOption(.receiveTrafficClassV4, to: true)
        try await server.setOption(.timestamps, to: true)
        let client = try UDPSocket.bind(to: Self.loopbacks[0])
        try await client.setOption(.hopLimitV4, to: 33)
        var control = ControlMessageBuffer()
        control.append(TrafficClass(.v4, 2))
        try await client.sendMessage(
          [1], to: try #require(try await server.localAddress()?.internet), control: control)
        let message = try #require(try await server.receiveMessage())
        #expect(message.packetInfoV4?.destination == .loopback)
        #expect(message.hopLimit?.value == 33)
        #expect(message.trafficClass?.congestion == .capable0)
        #expect((message.timestamp?.seconds ?? 0) > 1_600_000_000)
      }
    }

    @Test func whatWasAttachedToAPacketComesWithItOverIPv6() async throws {
      try await withDescriptorOracle { _ in
        let server = try UDPSocket.bind(to: Self.loopbacks[1])
        try await server.setOption(.packetInfoV6, to: true)
        try await server.setOption(.receiveHopLimitV6, to: true)
        try await server.setOption(.receiveTrafficClassV6, to: true)
        let client = try UDPSocket.bind(to: Self.loopbacks[1])
        var control = ControlMessageBuffer()
        control.append(HopLimit(.v6, 44))
        control.append(TrafficClass(.v6, 1))
        try await client.sendMessage(
          [1], to: try #require(try await server.localAddress()?.internet), control: control)
        let message = try #require(try await server.receiveMessage())
        #expect(message.packetInfoV6?.address == .loopback)
        #expect(message.hopLimit?.value == 44)
        #expect(message.trafficClass?.congestion == .capable1)
      }
    }

    /// One send is split into segments (GSO), and several segments are received as one (GRO).
    @Test(
      .enabled(
        if: KernelRelease.running >= KernelRelease(5, 15),
        "Linux 5.10 glues nothing on the loopback device"))
    func segmentsAreCutAndGlued() async throws {
      try await withDescriptorOracle { _ in
        let server = try UDPSocket.bind(to: Self.loopbacks[0])
        let glued = try UDPSocket.bind(to: Self.loopbacks[0])
        try await glued.setOption(.coalesceReceives, to: true)
        let client = try UDPSocket.bind(to: Self.loopbacks[0])
        var control = ControlMessageBuffer()
        control.append(SegmentSize(100))
        let payload = [UInt8](repeating: 9, count: 350)
        try await client.sendMessage(
          payload, to: try #require(try await server.localAddress()?.internet), control: control)
        for size in [100, 100, 100, 50] {
          #expect(try await server.receiveMessage()?.payload.count == size)
        }
        try await client.sendMessage(
          payload, to: try #require(try await glued.localAddress()?.internet), control: control)
        let message = try #require(try await glued.receiveMessage())
        #expect(message.payload == payload)
        #expect(message.segmentSize == 100)
      }
    }

    /// No socket is bound there: the error queue has the error, with the message that caused it and
    /// the host that reported it.
    @Test(arguments: [false, true]) func anUnreachablePortIsInTheErrorQueue(waits: Bool)
      async throws
    {
      try await withDescriptorOracle { loop in
        let nobody = try UDPSocket.bind(to: Self.loopbacks[0])
        let address = try #require(try await nobody.localAddress()?.internet)
        await nobody.close()
        let client = try UDPSocket.bind(to: Self.loopbacks[0])
        try await client.setOption(.errorQueueV4, to: true)
        // Messages in the other queue do not wake the receive.
        try await client.sendMessage(
          [8], to: try #require(try await client.localAddress()?.internet))
        let entry: ReceivedMessage?
        if waits {
          let task = Task(executorPreference: loop.taskExecutor) {
            try await client.receiveMessage(options: .errorQueue)
          }
          await untilOperationsArePending(1, on: loop)
          try await client.sendMessage([1, 2, 3], to: address)
          entry = try await task.value
        } else {
          try await client.sendMessage([1, 2, 3], to: address)
          entry = try await client.receiveMessage(options: .errorQueue)
        }
        #expect(entry?.payload == [1, 2, 3])
        #expect(entry?.extendedError?.errno == .connectionRefused)
        #expect(entry?.extendedError?.origin == .icmp)
        #expect(entry?.extendedError?.offender?.host == .v4(.loopback))
        #expect(entry?.sender?.internet == address)
        #expect(entry?.flags.contains(.errorQueue) == true)
      }
    }

    /// If a server asks for errors, a client that has gone ends its iteration; the other clients'
    /// messages wait for the next iteration.
    @Test func anErrorEndsAnIterationAndTheNextGoesOn() async throws {
      try await withDescriptorOracle { loop in
        let server = try UDPSocket.bind(to: Self.loopbacks[0])
        try await server.setOption(.errorQueueV4, to: true)
        let address = try #require(try await server.localAddress()?.internet)
        let gone = try UDPSocket.bind(to: Self.loopbacks[0])
        let goneAddress = try #require(try await gone.localAddress()?.internet)
        await gone.close()
        let iteration = Task(executorPreference: loop.taskExecutor) {
          var iterator = server.messages.makeAsyncIterator()
          let thrown = await codeThrown { _ = try await iterator.next(isolation: #isolation) }
          return (thrown, try await iterator.next(isolation: #isolation)?.payload)
        }
        await untilOperationsArePending(1, on: loop)
        try await server.sendMessage([1], to: goneAddress)
        let (thrown, after) = try await iteration.value
        #expect(thrown == .connectionRefused)
        #expect(after == nil)
        let client = try UDPSocket.bind(to: Self.loopbacks[0])
        for number in 2..<5 { try await client.sendMessage([UInt8(number)], to: address) }
        var next: UInt8 = 2
        for try await message in server.messages {
          #expect(message.payload == [next])
          next += 1
          if next == 5 { break }
        }
      }
    }

    @Test func anErrorOfAConnectedSocketIsThrown() async throws {
      try await withDescriptorOracle { _ in
        let nobody = try UDPSocket.bind(to: Self.loopbacks[0])
        let address = try #require(try await nobody.localAddress()?.internet)
        await nobody.close()
        let client = try UDPSocket.bind(to: Self.loopbacks[0])
        try await client.connect(to: address)
        try await client.sendMessage([1])
        #expect(await codeThrown { _ = try await client.receiveMessage() } == .connectionRefused)
        #expect(
          await codeThrown { try await client.sendMessage([UInt8](repeating: 0, count: 70_000)) }
            == .messageTooLarge)
      }
    }
  }
}

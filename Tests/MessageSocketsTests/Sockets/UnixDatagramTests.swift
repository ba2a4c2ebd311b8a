// SPDX-License-Identifier: Apache-2.0
import MessageSockets
import SystemPackage
import Testing

extension KernelTests {
  @Suite struct UnixDatagrams {
    @Test func anEmptyMessageIsAMessageAlsoWithDescriptors() async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixDatagram.makePair()
        try await left.sendMessage([])
        try await left.sendMessage([], descriptor: try .numbered(1))
        #expect(try await right.receiveMessage()?.payload == [])
        #expect(try await right.receiveMessage()?.descriptorCount == 1)
        try await left.sendMessage([])
        try await left.sendMessage([], descriptor: try .numbered(2))
        var iterator = right.messages.makeAsyncIterator()
        #expect(try await iterator.next()?.payload == [])
        #expect(try await iterator.next()?.descriptorCount == 1)
      }
    }

    /// Applies to prefetched messages too, whose name is in a shared buffer.
    @Test(arguments: [false, true]) func aMessageSaysWhereItCameFrom(receivesAhead: Bool)
      async throws
    {
      try await withDescriptorOracle { _ in
        let receiver = try UnixDatagram.bind(to: .autobind)
        let address = try #require(try await receiver.localAddress()?.unix)
        #expect(address.kind == .abstract)
        let named = try UnixDatagram.bind(
          to: UnixAddress(abstract: "message-sockets-\(UInt64.random(in: 0...(.max)))"))
        let nameless = try UnixDatagram()
        try await named.sendMessage([1], descriptor: try .numbered(5), to: address)
        try await nameless.sendMessage([2], to: address)
        var iterator = receiver.messages.makeAsyncIterator()
        let first = try #require(
          receivesAhead ? try await iterator.next() : try await receiver.receiveMessage())
        #expect(first.payload == [1])
        #expect(first.descriptorCount == 1)
        let senderName = try await named.localAddress()
        #expect(first.sender == senderName)
        // An answer can be sent to that address.
        try await receiver.sendMessage([3], to: try #require(first.sender?.unix))
        #expect(try await named.receiveMessage()?.payload == [3])
        let second = try #require(
          receivesAhead ? try await iterator.next() : try await receiver.receiveMessage())
        #expect(second.payload == [2])
        #expect(second.sender == nil)
      }
    }

    @Test func sendingWhereNobodyIsIsAnErrorWithTheAddress() async throws {
      try await withDescriptorOracle { _ in
        let sender = try UnixDatagram()
        let nobody = try UnixAddress(
          abstract: "message-sockets-nobody-\(UInt64.random(in: 0...(.max)))")
        let error = try #require(
          await errorThrown {
            try await sender.sendMessage([1], descriptor: try .numbered(1), to: nobody)
          })
        #expect(error.code == .connectionRefused)
        #expect(error.address?.unix == nobody)
        #expect("\(error)".contains("@message-sockets-nobody"))
        let noFile = try UnixAddress(path: "/tmp/message-sockets-no-such-file")
        #expect(await codeThrown { try await sender.sendMessage([1], to: noFile) } == .notFound)
        #expect(await codeThrown { try await sender.sendMessage([1]) } == .notConnected)
      }
    }

    /// The sender waits while the receiver's queue is full, and continues when there is room. No
    /// event reports the room, and the loop does not spin. The sender uses an address or is
    /// connected; in both cases the receiver is not connected to the sender.
    @Test(.timeLimit(.minutes(1)), arguments: [false, true]) func aFullReceiverSuspendsTheSender(
      isConnected: Bool
    ) async throws {
      try await withDescriptorOracle { loop in
        let receiver = try UnixDatagram.bind(to: .autobind)
        let address = try #require(try await receiver.localAddress()?.unix)
        let sender = try UnixDatagram()
        if isConnected { try await sender.connect(to: address) }
        let count = 2000
        let sending = Task(executorPreference: loop.taskExecutor) {
          for number in 0..<count {
            let file = try OwnedFd.numbered(number % 256)
            let payload = Array("\(number)".utf8)
            if isConnected {
              try await sender.sendMessage(payload, descriptor: file)
            } else {
              try await sender.sendMessage(payload, descriptor: file, to: address)
            }
          }
        }
        await untilSendsStall(on: loop)
        try await expectThatTheLoopRests(loop)
        for number in 0..<count {
          let message = try #require(try await receiver.receiveMessage())
          try #require(String(decoding: message.payload, as: UTF8.self) == "\(number)")
          #expect(try message.takeDescriptor()?.number == number % 256)
        }
        try await sending.value
      }
    }

    /// A refused send throws, even on a socket that is shut down for receiving, and does not affect
    /// the next operation.
    @Test func aRefusedSendOfASocketThatReceivesNoMore() async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixDatagram.makePair()
        try await left.shutdown(.receiving)
        var sent = 0
        let code = await codeThrown {
          while true {
            try await left.sendMessage([UInt8(truncatingIfNeeded: sent)], options: .doNotWait)
            sent += 1
          }
        }
        #expect(code == .wouldBlock)
        for number in 0..<sent {
          let message = try #require(try await right.receiveMessage())
          try #require(message.payload == [UInt8(truncatingIfNeeded: number)])
        }
      }
    }

    @Test func aWaitingSendToAFullReceiverIsCancelled() async throws {
      try await withDescriptorOracle { loop in
        let receiver = try UnixDatagram.bind(to: .autobind)
        let address = try #require(try await receiver.localAddress()?.unix)
        let sender = try UnixDatagram()
        let task = Task(executorPreference: loop.taskExecutor) {
          var count = 0
          do {
            while true {
              try await sender.sendMessage([UInt8(truncatingIfNeeded: count)], to: address)
              count += 1
            }
          } catch is CancellationError { return count }
        }
        await untilSendsStall(on: loop)
        task.cancel()
        let sent = try await task.value
        for number in 0..<sent {
          #expect(
            try await receiver.receiveMessage()?.payload == [UInt8(truncatingIfNeeded: number)])
        }
        #expect(
          await codeThrown { _ = try await receiver.receiveMessage(options: .doNotWait) }
            == .wouldBlock)
      }
    }

    @Test(arguments: [false, true]) func shutDownForReceivingIsTheEnd(receivesAhead: Bool)
      async throws
    {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixDatagram.makePair()
        let before = await loop.statistics.messagesReceived
        try await left.sendMessage([])
        let task = Task(executorPreference: loop.taskExecutor) {
          var count = 0
          if receivesAhead {
            for try await _ in right.messages { count += 1 }
          } else {
            while try await right.receiveMessage() != nil { count += 1 }
          }
          return count
        }
        while await loop.statistics.messagesReceived == before { await Task.yield() }
        await untilOperationsArePending(1, on: loop)
        try await right.shutdown(.receiving)
        #expect(try await task.value == 1)
        #expect(try await right.receiveMessage() == nil)
        await left.close()
      }
    }

    @Test func connectedSocketsNeedNoAddress() async throws {
      try await withDescriptorOracle { _ in
        let server = try UnixDatagram.bind(to: .autobind)
        let client = try UnixDatagram.bind(to: .autobind)
        try await client.connect(to: try #require(try await server.localAddress()?.unix))
        try await client.sendMessage([1], descriptor: try .numbered(1))
        let request = try #require(try await server.receiveMessage())
        let descriptor = request.takeDescriptor()!
        try await server.sendMessage(
          [2], descriptor: descriptor, to: try #require(request.sender?.unix))
        let answer = try #require(try await client.receiveMessage())
        #expect(try answer.takeDescriptor()?.number == 1)
        #expect(try await client.peerAddress() == server.localAddress())
      }
    }
  }
}

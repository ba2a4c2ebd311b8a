// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets
import SystemPackage
import Testing

@testable import ServiceManagement

extension KernelTests {
  @Suite(.timeLimit(.minutes(2))) struct HostileHandOverTests {
    /// Control peers that violate the protocol: each is refused, none of their descriptors stays
    /// open, and the server continues to serve.
    @Test func hostileSuccessors() async throws {
      try await withGenerations { generations, _ in
        let server = try await generations.start(["STEP_LIMIT": "3000"])
        try await server.lines(until: "pid")
        let before = server.descriptorCount
        let hello = HandOverMessage.hello(protocolVersion: 1, stateVersion: 0).encoded
        for message in [
          [0], Array("GET / HTTP/1.1\r\n\r\n".utf8), [UInt8](repeating: 255, count: 60_000),
          HandOverMessage.ready.encoded,
          HandOverMessage.hello(protocolVersion: 2, stateVersion: 0).encoded, hello + [0],
        ] as [[UInt8]] {
          try await withPeer(generations) { peer in
            try await peer.sendMessage(message)
            let answer = try await peer.receiveMessage()
            #expect(answer?.payload.first == 15, "\(answer?.payload ?? [])")
          }
          try await server.lines(until: "event: failed")
        }
        // No message, then the end.
        try await withPeer(generations) { _ in }
        try await server.lines(until: "event: failed")
        // No message, without an end.
        try await withPeer(generations) { peer in
          let answer = try await peer.receiveMessage()
          #expect(answer?.payload.first == 15)
          let end = try await peer.receiveMessage()
          #expect(end == nil)
        }
        try await server.lines(until: "event: failed")
        // 253 descriptors that were not asked for. If the kernel refuses them on behalf of the
        // server, the sender gets an error.
        let files = try numberedFiles(253)
        let peer = try await UnixSeqpacket.connect(to: generations.control)
        do {
          try await peer.sendMessage(hello, descriptors: files.span)
          #expect(try await peer.receiveMessage()?.payload.first == 15)
        } catch let error as SocketError { #expect(error.code == .notPermitted) }
        await peer.close()
        try await server.lines(until: "event: failed")
        // Stops half-way, in every position.
        for answers in [[], [.received(7)], [.received(1), .ready], [.serving]]
          as [[HandOverMessage]]
        {
          try await withPeer(generations) { peer in
            try await peer.sendMessage(hello)
            for answer in answers { try await peer.sendMessage(answer.encoded) }
            // Receives until the server refuses, or goes as far as it can without us.
            while let message = try await peer.receiveMessage(deadline: .now + .seconds(20)),
              message.payload.first != 15
            {
              if answers.isEmpty { break }
            }
          }
          try await server.lines(until: "event: failed")
        }
        #expect(try await generations.askLocally() == "\(server.process.processID) here\n")
        try await server.untilDescriptorCount(before)
        let next = try await generations.start()
        #expect(
          try await next.lines(until: "event: servingSent").contains(
            "inherited 300 files, 100000 bytes, intact: true"))
        try await server.expectReplaced()
        try await next.terminate()
      }
    }

    private func withPeer(_ generations: Generations, _ body: (UnixSeqpacket) async throws -> Void)
      async throws
    {
      let peer = try await UnixSeqpacket.connect(to: generations.control)
      try await body(peer)
      await peer.close()
    }

    private func numberedFiles(_ count: Int) throws -> OwnedFds {
      var files = OwnedFds()
      for number in 0..<count { files.append(try .numbered(number)) }
      return files
    }

    private static let offer = HandOverMessage.offer(
      protocolVersion: 1, descriptors: 2, stateLength: 0)
    private static let control = HandOverMessage.batch(first: 0, [HandOverEntry(name: "")])

    /// The answers of a process at the control address, the number of descriptors with the last
    /// message, and the expected result.
    struct Lie: Sendable, CustomTestStringConvertible {
      var messages: [HandOverMessage]
      var descriptors = 0
      var code: ServiceError.Code
      var testDescription: String {
        messages.map(\.name).joined(separator: ", ") + " with \(descriptors)"
      }
    }

    static let lies = [
      Lie(messages: [.ready], code: .malformedMessage),
      Lie(
        messages: [.offer(protocolVersion: 9, descriptors: 2, stateLength: 0)], code: .wrongVersion),
      Lie(
        messages: [.offer(protocolVersion: 1, descriptors: 0, stateLength: 0)], code: .limitExceeded
      ),
      Lie(
        messages: [.offer(protocolVersion: 1, descriptors: .max, stateLength: 0)],
        code: .limitExceeded),
      Lie(
        messages: [.offer(protocolVersion: 1, descriptors: 1, stateLength: .max)],
        code: .limitExceeded),
      Lie(messages: [offer], descriptors: 3, code: .malformedMessage),
      Lie(messages: [offer, control], descriptors: 0, code: .malformedMessage),
      Lie(messages: [offer, control], descriptors: 2, code: .malformedMessage),
      Lie(
        messages: [offer, .batch(first: 1, [HandOverEntry(name: "x")])], descriptors: 1,
        code: .malformedMessage),
      Lie(
        messages: [offer, .batch(first: 0, [HandOverEntry(name: "x")])], descriptors: 1,
        code: .malformedMessage),
      Lie(
        messages: [offer, .batch(first: 0, [HandOverEntry(name: ""), HandOverEntry(name: "")])],
        descriptors: 2, code: .malformedMessage),
      Lie(
        messages: [
          offer,
          .batch(
            first: 0, [HandOverEntry(name: ""), HandOverEntry(name: "a"), HandOverEntry(name: "b")]),
        ], descriptors: 3,
        code: .malformedMessage),
      Lie(messages: [offer, .state([1])], code: .malformedMessage),
      Lie(messages: [offer, .go], code: .malformedMessage),
      Lie(messages: [.refusal(.busy, "later")], code: .handOverUnderWay),
      Lie(messages: [], code: .timedOut),
    ]

    @Test(arguments: lies) func hostilePredecessors(lie: Lie) async throws {
      try await withTemporaryPath { path in
        try await withDescriptorOracle { loop in
          let listener = try UnixListener<UnixSeqpacket>.bind(to: UnixAddress(path: path))
          let lying = Task(executorPreference: loop.taskExecutor) {
            let successor = try await listener.accept()
            _ = try await successor.receiveMessage()
            for (index, message) in lie.messages.enumerated() {
              var files = OwnedFds()
              if index == lie.messages.count - 1 {
                for number in 0..<lie.descriptors { files.append(try .numbered(number)) }
              }
              try await successor.sendMessage(message.encoded, descriptors: files.span)
            }
            // Wait until the successor has gone.
            do { while try await successor.receiveMessage() != nil {} } catch is SocketError {}
            await successor.close()
          }
          var limits = HandOverLimits()
          limits.step = .milliseconds(lie.messages.isEmpty ? 100 : 20_000)
          let address = try UnixAddress(path: path)
          await #expect {
            _ = try await HandOver.begin(at: address, limits: limits)
          } throws: {
            ($0 as? ServiceError)?.code == lie.code
          }
          try await lying.value
          await listener.close()
        }
      }
    }

    /// A process of another user listens at the address, as in a directory that both users may
    /// write to.
    @Test(.enabled(if: geteuid() == 0, "only root can become another user"))
    func aPredecessorOfAnotherUser() async throws {
      try await withTemporaryPath { path in
        try await withDescriptorOracle { _ in
          let address = try UnixAddress(abstract: "service-tests-other-\(getpid())")
          var stranger = ServiceCommand(
            "/usr/bin/env",
            arguments: [
              "python3", ForeignPeer.script("hand_over_peer.py"), "lie", "12345", "\(address)",
            ])
          let running = try await RunningTool(&stranger)
          try await running.lines(until: "listening")
          await #expect {
            _ = try await HandOver.begin(at: address)
          } throws: {
            ($0 as? ServiceError)?.code == .notAuthorized
          }
          _ = try await running.linesToEnd()
          #expect(try await running.process.end() == .exited(0))
        }
      }
    }

    /// A process of another user asks to take over: it gets nothing, the refusal is reported, and
    /// nothing is offered.
    @Test(.enabled(if: geteuid() == 0, "only root can become another user"))
    func aSuccessorOfAnotherUser() async throws {
      try await withDescriptorOracle { loop in
        let address = try UnixAddress(abstract: "service-tests-own-\(getpid())")
        let (events, event) = AsyncStream.makeStream(of: HandOverEvent.self)
        let handOver = try await HandOver.begin(at: address) { event.yield($0) }
        let running = Task(executorPreference: loop.taskExecutor) {
          try await handOver.run {
            Issue.record("something is offered")
            return HandOverItems()
          } serving: { announce in
            announce()
            try await loop.sleep(for: .seconds(1000))
          }
        }
        var stranger = ServiceCommand(
          "/usr/bin/env",
          arguments: [
            "python3", ForeignPeer.script("hand_over_peer.py"), "intrude", "12345", "\(address)",
          ])
        let intruding = try await RunningTool(&stranger)
        #expect(try await intruding.linesToEnd() == ["refused"])
        #expect(try await intruding.process.end() == .exited(0))
        var error: ServiceError?
        for await case .failed(let found) in events {
          error = found as? ServiceError
          break
        }
        #expect(error?.code == .notAuthorized)
        #expect(error?.detail.contains("user 12345") == true, "\(error as Any)")
        running.cancel()
        #expect(try await running.value == .ended)
      }
    }

    /// A process that fails before it serves changes nothing.
    @Test func beginningWithoutRunning() async throws {
      try await withGenerations { generations, _ in
        let server = try await generations.start()
        try await server.lines(until: "pid")
        do {
          let handOver = try await HandOver.begin(at: generations.control)
          #expect(handOver.isSuccessor && handOver.isComplete)
          var items = handOver.takeInherited()
          #expect(items.descriptors.count == 302)
          let web: TCPListener = try items.descriptors.takeListener(named: "web")
          #expect(web.address == generations.address)
          #expect(throws: ServiceError.self) {
            _ = try items.descriptors.takeListener(named: "local", of: UnixSeqpacket.self).address
          }
        }
        try await server.lines(until: "event: failed(peerEnded")
        try await server.terminate()
      }
    }
  }
}

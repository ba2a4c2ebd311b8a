// SPDX-License-Identifier: Apache-2.0
import Foundation
import MessageFraming
import MessageSockets
import Synchronization
import SystemPackage
import Testing

@testable import SocketEngine
@testable import Varlink

private typealias Number = Fixture.Number

extension KernelTests {
  @Suite(.timeLimit(.minutes(2))) struct VarlinkCalls {
    @Test func callsAreAnsweredWithDescriptorsBothWays() async throws {
      try await withDescriptorOracle { _ in
        try await Fixture.run { client in
          let sum = try await client.call(
            "com.example.Test.Add", Number(number: 41), returning: Number.self)
          #expect(sum.parameters.number == 42)
          let opened = try await client.call(
            "com.example.Test.Open", Number(number: 7), returning: Fixture.File.self)
          let file = try opened.takeDescriptor(at: opened.parameters.file)
          #expect(try file.number == 7)
          #expect(throws: FramingError.self) { _ = try opened.takeDescriptor(at: 0).number }
          var files = OwnedFds()
          for number in [5, 6, 7] { files.append(try OwnedFd.numbered(number)) }
          let read = try await client.call(
            "com.example.Test.ReadAll", Fixture.Files(files: [2, 0, 1]),
            returning: Fixture.Numbers.self, descriptors: files)
          #expect(read.parameters.numbers == [7, 5, 6])
          // Not all are taken: they close with the reply, and with the call.
          _ = try await client.call(
            "com.example.Test.Open", Number(number: 1), returning: Fixture.File.self)
          var unused = OwnedFds()
          unused.append(try OwnedFd.numbered(1))
          _ = try await client.call(
            "com.example.Test.Add", Number(number: 1), returning: Number.self, descriptors: unused)
        }
      }
    }

    @Test func textInAndOut() async throws {
      try await withDescriptorOracle { _ in
        try await Fixture.run { client in
          let reply = try await client.call("com.example.Test.Add", json: #"{"number": 1 }"#)
          #expect(reply.parameters == #"{"number":2}"#)
          await #expect { try await client.call("com.example.Test.Add", json: "{") } throws: {
            ($0 as? VarlinkFailure)?.code == .malformedMessage
          }
          await #expect {
            try await client.call("com.example.Test.Add", [1]) as VarlinkReply<Number>
          } throws: {
            ($0 as? VarlinkFailure)?.code == .invalidParameters
          }
          for name in ["Add", "com.example.Test.add", "com.example.Test.A\"d", "com..Test.Add", ""]
          {
            await #expect { try await client.call(name, json: "{}") } throws: {
              ($0 as? VarlinkFailure)?.code == .invalidMethodName
            }
          }
          await #expect {
            try await client.call(
              "com.example.Test.Add", Number(number: 1), returning: Fixture.File.self)
          } throws: {
            ($0 as? VarlinkFailure)?.code == .unexpectedParameters
          }
        }
      }
    }

    @Test func severalReplies() async throws {
      try await withDescriptorOracle { loop in
        try await Fixture.run { client in
          let replies = try await client.callMore(
            "com.example.Test.Count", Number(number: 100), returning: Number.self)
          // After it on the same connection.
          let behind = Task(executorPreference: loop.taskExecutor) {
            try await client.call("com.example.Test.Add", json: #"{"number":1}"#)
          }
          var next = 0
          for try await reply in replies {
            #expect(reply.parameters.number == next)
            if next < 100 {
              let number = try reply.takeDescriptor(at: 0).number
              #expect(number == next)
            }
            next += 1
          }
          #expect(next == 101)
          #expect(try await behind.value.parameters == #"{"number":2}"#)
          // The iteration is left early, and the rest is dropped.
          for try await _ in try await client.callMore(
            "com.example.Test.Count", Number(number: 100), returning: Number.self)
          { break }
          #expect(
            try await client.call("com.example.Test.Add", json: #"{"number":3}"#).parameters
              == #"{"number":4}"#)
          // Without `more`, the handler's first reply is an error.
          await expectError("org.varlink.service.ExpectedMore") {
            _ = try await client.call("com.example.Test.Count", json: #"{"number":3}"#)
          }
        }
      }
    }

    @Test func errorsAreAnswersAndTheConnectionGoesOn() async throws {
      try await withDescriptorOracle { _ in
        try await Fixture.run { client in
          func call(_ method: String, _ json: String) async throws {
            _ = try await client.call(method, json: json)
          }
          do {
            try await call("com.example.Test.Fail", #"{"number":9}"#)
            Issue.record("no error")
          } catch let error as VarlinkError {
            #expect(error.name == "com.example.Test.TooLarge")
            #expect(try error.parameters(as: Number.self).number == 9)
          }
          await expectError("com.example.Test.InternalError", "{}") {
            try await call("com.example.Test.Fail", #"{"number":0}"#)
          }
          await expectError(
            "org.varlink.service.InterfaceNotFound", #"{"interface":"com.example.None"}"#
          ) {
            try await call("com.example.None.Add", "{}")
          }
          await expectError(
            "org.varlink.service.MethodNotFound", #"{"method":"com.example.Test.None"}"#
          ) {
            try await call("com.example.Test.None", "{}")
          }
          for json in ["{}", #"{"number":"one"}"#, #"{"number":null}"#] {
            await expectError("org.varlink.service.InvalidParameter", #"{"parameter":"number"}"#) {
              try await call("com.example.Test.Add", json)
            }
          }
          // Foundation does not report which parameter is out of range.
          for number in ["1.5", "99999999999999999999"] {
            await expectError("org.varlink.service.InvalidParameter") {
              try await call("com.example.Test.Add", #"{"number":\#(number)}"#)
            }
          }
          // Various indices of a descriptor that does not exist.
          for index in ["0", "-1", "9223372036854775807"] {
            await expectError("org.varlink.service.InvalidParameter", #"{"parameter":"file"}"#) {
              try await call("com.example.Test.Read", #"{"file":\#(index)}"#)
            }
          }
          await expectError("org.varlink.service.InvalidParameter", #"{"parameter":"files"}"#) {
            var files = OwnedFds()
            files.append(try OwnedFd.numbered(1))
            _ = try await client.call(
              "com.example.Test.ReadAll", json: #"{"files":[0,0]}"#, descriptors: files)
          }
          #expect(
            try await client.call("com.example.Test.Add", json: #"{"number":1}"#).parameters
              == #"{"number":2}"#)
        }
      }
    }

    @Test func theServiceSaysWhatItIs() async throws {
      struct Info: Decodable, Sendable {
        var vendor, product, version, url: String; var interfaces: [String]
      }
      try await withDescriptorOracle { _ in
        try await Fixture.run { client in
          let info = try await client.call("org.varlink.service.GetInfo", returning: Info.self)
            .parameters
          #expect(info.interfaces == ["com.example.Test", "org.varlink.service"])
          #expect(
            [info.vendor, info.product, info.version, info.url] == [
              "Example", "Test", "1", "https://example.com",
            ])
          let reply = try await client.call(
            "org.varlink.service.GetInterfaceDescription", ["interface": "com.example.Test"],
            returning: [String: String].self)
          #expect(reply.parameters["description"] == Fixture.description)
          await expectError("org.varlink.service.InterfaceNotFound") {
            _ = try await client.call(
              "org.varlink.service.GetInterfaceDescription", json: #"{"interface":"a.b"}"#)
          }
        }
      }
    }

    /// An error that is too long for a message, because of a method's name or its parameters, is
    /// still an error.
    @Test func errorsThatAreTooLong() async throws {
      try await withDescriptorOracle { _ in
        try await Fixture.run(Fixture.service(limits: VarlinkLimits(messageSize: 200))) { client in
          let name = "com.example.Test." + String(repeating: "A", count: 140)
          await expectError("org.varlink.service.InternalError", "{}") {
            _ = try await client.call(name, json: "{}")
          }
          let sum = try await client.call("com.example.Test.Add", json: #"{"number":1}"#).parameters
          #expect(sum == #"{"number":2}"#)
        }
      }
    }

    @Test func onewayIsNotAnswered() async throws {
      try await withDescriptorOracle { _ in
        try await Fixture.run { client in
          for number in 0..<3 {
            var files = OwnedFds()
            files.append(try OwnedFd.numbered(number))
            try await client.callOneway(
              "com.example.Test.Read", Fixture.File(file: 0), descriptors: files)
          }
          try await client.callOneway("com.example.Test.None")
          try await client.callOneway("com.example.Test.Fail", Number(number: 1))
          #expect(
            try await client.call("com.example.Test.Add", json: #"{"number":1}"#).parameters
              == #"{"number":2}"#)
        }
      }
    }

    /// Descriptors that a handler pushes for replies that are not sent close with each of them.
    @Test func onewayWithMore() async throws {
      try await withDescriptorOracle { loop in
        let (ours, theirs) = try UnixStream.makePair()
        let text =
          #"{"method":"com.example.Test.Count","parameters":{"number":300},"more":true,"oneway":true}"#
        try await ours.sendMessage(
          Array(text.utf8) + [0] + Array(#"{"method":"a.b.C"}"#.utf8) + [0])
        let serving = Task(executorPreference: loop.taskExecutor) {
          try await Fixture.service().handle(theirs) { Issue.record($0) }
        }
        // Only the next call is answered.
        let answer = try await ours.receiveMessage().map {
          String(decoding: $0.payload, as: UTF8.self)
        }
        #expect(answer?.contains("InterfaceNotFound") == true)
        await ours.close()
        #expect(await serving.failure == nil)
        await theirs.close()
      }
    }

    /// Calls of many tasks are pipelined, including those with descriptors; each gets its own
    /// reply.
    @Test(arguments: [false, true]) func manyTasksCallAtOnce(pipelines: Bool) async throws {
      try await withDescriptorOracle { loop in
        var limits = VarlinkLimits()
        limits.pipelinesDescriptors = pipelines
        try await Fixture.run(limits: limits) { client in
          try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<50 {
              group.addTask(executorPreference: loop.taskExecutor) {
                for step in 0..<10 {
                  if (number + step) % 3 == 0 {
                    var files = OwnedFds()
                    files.append(try OwnedFd.numbered(number))
                    let reply = try await client.call(
                      "com.example.Test.Read", Fixture.File(file: 0), returning: Number.self,
                      descriptors: files)
                    #expect(reply.parameters.number == number)
                  } else {
                    let reply = try await client.call(
                      "com.example.Test.Open", Number(number: number), returning: Fixture.File.self)
                    let found = try reply.takeDescriptor(at: 0).number
                    #expect(found == number)
                  }
                }
              }
            }
            try await group.waitForAll()
          }
        }
      }
    }

    /// A call that is cancelled before it was sent is not sent; if it is cancelled later, its reply
    /// is received and dropped with its descriptor.
    @Test func cancelledCallsAndDeadlines() async throws {
      try await withDescriptorOracle { loop in
        let gate = Gate()
        try await Fixture.run(Fixture.service(waiting: gate)) { client in
          let waiting = Task(executorPreference: loop.taskExecutor) {
            try await client.call("com.example.Test.Wait", json: #"{"number":1}"#)
          }
          await gate.untilArrivals(are: 1)
          let opening = Task(executorPreference: loop.taskExecutor) {
            try await client.call("com.example.Test.Open", json: #"{"number":1}"#)
          }
          // With a descriptor, the call waits until all others are answered, so it has not been
          // sent when it is cancelled.
          let pipe = try Pipe()
          let reading = Task(executorPreference: loop.taskExecutor) {
            [box = DescriptorBox(pipe.takeWriter())] in
            try await client.call(
              "com.example.Test.Read", json: #"{"file":0}"#, descriptors: box.take())
          }
          await #expect {
            try await client.call("com.example.Test.Add", json: #"{"number":1}"#, deadline: .now)
          } throws: {
            ($0 as? SocketError)?.code == .deadlineExceeded
          }
          for task in [waiting, opening, reading] {
            task.cancel()
            #expect(await task.failure is CancellationError)
          }
          #expect(pipe.isAtEnd)
          await gate.open()
          #expect(
            try await client.call("com.example.Test.Add", json: #"{"number":1}"#).parameters
              == #"{"number":2}"#)
        }
      }
    }

    @Test func tooManyAbandonedCallsEndTheConnection() async throws {
      try await withDescriptorOracle { loop in
        let (ours, theirs) = try UnixStream.makePair()
        var limits = VarlinkLimits()
        limits.abandonedCalls = 2
        let client = VarlinkClient(ours, limits: limits)
        let other = Task(executorPreference: loop.taskExecutor) {
          try await client.call("com.example.Test.Add", json: "{}")
        }
        let peer = FramedChannel(theirs, format: .zeroTerminated())
        _ = try await peer.receive()
        for _ in 1...3 {
          let call = Task(executorPreference: loop.taskExecutor) {
            try await client.call("com.example.Test.Add", json: "{}")
          }
          _ = try await peer.receive()
          call.cancel()
          #expect(await call.failure is CancellationError)
        }
        #expect((await other.failure as? VarlinkFailure)?.code == .tooManyAbandonedCalls)
        #expect(try await peer.receive() == nil)
        await client.close()
        await peer.close()
      }
    }

    /// A call does not wait for dropped replies: an iteration that was cancelled, or that received
    /// unexpected parameters, is at its end and delays no other call.
    @Test func anIterationThatHasEndedEarly() async throws {
      try await withDescriptorOracle { loop in
        let gate = Gate()
        try await Fixture.run(Fixture.service(waiting: gate)) { client in
          let waiting = try await client.callMore(
            "com.example.Test.Wait", Number(number: 1), returning: VarlinkEmpty.self)
          await gate.untilArrivals(are: 1)
          let iterating = Task(executorPreference: loop.taskExecutor) {
            for try await _ in waiting {}
          }
          iterating.cancel()
          #expect(await iterating.failure is CancellationError)
          var again = waiting.makeAsyncIterator()
          #expect(try await again.next() == nil)
          await gate.open()
          let counting = try await client.callMore(
            "com.example.Test.Count", Number(number: 100), returning: Fixture.File.self)
          var iterator = counting.makeAsyncIterator()
          do {
            _ = try await iterator.next()
            Issue.record("another type was decoded")
          } catch { #expect((error as? VarlinkFailure)?.code == .unexpectedParameters) }
          #expect(try await iterator.next() == nil)
          #expect(
            try await client.call("com.example.Test.Add", json: #"{"number":3}"#).parameters
              == #"{"number":4}"#)
          withExtendedLifetime((waiting, counting)) {}
        }
      }
    }

    /// The messages of a hostile service, and the error that the call throws.
    @Test(
      arguments: [
        ("{}", nil), (#"{"parameters":{"number":1}}"#, nil), ("{", .malformedMessage),
        ("", .malformedMessage), ("[]", .malformedMessage),
        (#"{"continues":true}"#, .unexpectedContinuation),
        (#"{"parameters":5}"#, .malformedMessage), (#"{"error":5}"#, .malformedMessage),
        (#"{"continues":1}"#, .malformedMessage), (#"{"a":1,"a":2}"#, .malformedMessage),
        (#"{"parameters":{"a":\#(String(repeating: "[", count: 10_000))"#, .nestedTooDeeply),
      ] as [(String, VarlinkFailure.Code?)])
    func aHostileService(reply: String, code: VarlinkFailure.Code?) async throws {
      try await withDescriptorOracle { loop in
        let (ours, theirs) = try UnixStream.makePair()
        let client = VarlinkClient(ours)
        let call = Task(executorPreference: loop.taskExecutor) {
          try await client.call("a.b.C", json: "{}")
        }
        _ = try await theirs.receiveMessage()
        var files = OwnedFds()
        for number in 0..<253 { files.append(try OwnedFd.numbered(number)) }
        try await theirs.sendMessage(Array(reply.utf8) + [0], descriptors: files.span)
        #expect((await call.failure as? VarlinkFailure)?.code == code)
        await client.close()
        await theirs.close()
      }
    }

    @Test func repliesThatNobodyAskedForAndTheEnd() async throws {
      try await withDescriptorOracle { loop in
        for (bytes, code) in [
          (Array("{}\0".utf8), VarlinkFailure.Code.replyWithoutCall), ([], .connectionEnded),
          (nil, .connectionEnded),
        ] {
          let (ours, theirs) = try UnixStream.makePair()
          let client = VarlinkClient(ours)
          if let bytes {
            try await theirs.sendMessage(bytes)
            try await theirs.shutdown(.sending)
            while try await theirs.receiveMessage() != nil {}
          } else {
            let call = Task(executorPreference: loop.taskExecutor) {
              try await client.call("a.b.C", json: "{}")
            }
            _ = try await theirs.receiveMessage()
            await theirs.close()
            #expect((await call.failure as? VarlinkFailure)?.code == .connectionEnded)
          }
          await #expect { try await client.call("a.b.C", json: "{}") } throws: {
            ($0 as? VarlinkFailure)?.code == code
          }
          await client.close()
          await theirs.close()
        }
      }
    }

    /// The messages of a hostile client, and the error with which the service ends the connection;
    /// nothing stays open.
    @Test func aHostileClient() async throws {
      func call(_ parameters: String) -> String {
        #"{"method":"com.example.Test.Add","parameters":\#(parameters)}"#
      }
      let deep = String(repeating: "[", count: 10_000)
      let cases: [(String, Bool)] = [
        (call(#"{"number":1}"#) + "\0", false), ("\0", true), ("{\0", true),
        (call(#"{"number":"#) + "\0", true), (call("5") + "\0", true),
        (call("{}{}") + "\0", true), (call(#"{"number":1}"#), true),
        (call(#"{"a":\#(deep)"#) + "\0", true), (deep + "\0", true),
        (#"{"method":5}"# + "\0", true), (#"{"method":"\ud800"}"# + "\0", true),
        ("{\"method\":\"\u{1}\"}\0", true), ("{}\0", true),
        (#"{"method":"com.example.Test.Add","upgrade":true}"# + "\0", false),
        (#"{"method":""}"# + "\0", false),
        (#"{"\u006dethod":"com.example.Test.Add","more":null}"# + "\0", false),
        (String(repeating: "x", count: 3000), true),
      ]
      try await withDescriptorOracle { _ in
        for (text, isFatal) in cases {
          for count in [0, 3, 253] {
            let failure = try await Fixture.runRaw(
              Fixture.service(limits: VarlinkLimits(messageSize: 40_000))
            ) { socket in
              var files = OwnedFds()
              for _ in 0..<count { files.append(try OwnedFd.numbered(1)) }
              try await socket.sendMessage(Array(text.utf8), descriptors: files.span)
            }
            #expect(
              (failure != nil) == isFatal, "\(text.prefix(80)): \(String(describing: failure))")
          }
        }
        // Messages above the limits.
        let limits = VarlinkLimits(messageSize: 1000, maximumDescriptorsPerMessage: 2)
        let large = try await Fixture.runRaw(Fixture.service(limits: limits)) {
          try? await $0.sendMessage([UInt8](repeating: 0x20, count: 1001))
        }
        #expect((large as? FramingError)?.code == .frameTooLarge)
        let many = try await Fixture.runRaw(Fixture.service(limits: limits)) { socket in
          var files = OwnedFds()
          for _ in 0..<3 { files.append(try OwnedFd.numbered(1)) }
          try await socket.sendMessage([0x20], descriptors: files.span)
        }
        #expect((many as? FramingError)?.code == .tooManyDescriptors)
      }
    }

    /// Nothing follows the last reply, however long a handler keeps its call.
    @Test func aCallThatIsKept() async throws {
      try await withDescriptorOracle { _ in
        let kept = Mutex<VarlinkCall?>(nil)
        var interface = VarlinkInterface("a.b", description: "interface a.b\nmethod Keep() -> ()")
        interface.method("Keep") { (_: VarlinkEmpty, call) in
          kept.withLock { $0 = call }
          return VarlinkEmpty()
        }
        var service = VarlinkService(vendor: "", product: "", version: "", url: "")
        service.add(interface)
        try await Fixture.run(service) { client in
          for try await _ in try await client.callMore("a.b.Keep", returning: VarlinkEmpty.self) {}
          let call = try #require(kept.withLock { $0.take() })
          await #expect { try await call.reply(VarlinkEmpty()) } throws: {
            ($0 as? VarlinkFailure)?.code == .callFinished
          }
          #expect { try call.push(try OwnedFd.numbered(1)) } throws: {
            ($0 as? VarlinkFailure)?.code == .callFinished
          }
          #expect(try await client.call("a.b.Keep", json: "{}").parameters == "{}")
        }
        kept.withLock { $0 = nil }
      }
    }

    /// A client that leaves without its replies is no error and is not reported; not even if the
    /// handler is not cancelled because more calls are queued behind its own than are received
    /// ahead.
    @Test(arguments: [false, true]) func aClientThatLeavesIsNoError(wantsMore: Bool) async throws {
      try await withDescriptorOracle { loop in
        let gate = Gate()
        var interface = VarlinkInterface("a.b", description: "interface a.b\nmethod Late() -> ()")
        interface.method("Late") { (_: VarlinkEmpty, call) in
          try await gate.wait()
          if call.wantsMore { try await call.reply(VarlinkEmpty()) }
          return VarlinkEmpty()
        }
        var service = VarlinkService(
          vendor: "", product: "", version: "", url: "", limits: VarlinkLimits(messageSize: 200))
        service.add(interface)
        let (ours, theirs) = try UnixStream.makePair()
        let serving = Task(executorPreference: loop.taskExecutor) { [service] in
          try await service.handle(theirs) { Issue.record($0) }
        }
        try await ours.sendMessage(Array(#"{"method":"a.b.Late","more":\#(wantsMore)}"#.utf8) + [0])
        await gate.untilArrivals(are: 1)
        for _ in 0..<3 { try await ours.sendMessage(Array(#"{"method":"a.b.Late"}"#.utf8) + [0]) }
        await untilTasksRest(on: loop)
        await ours.close()
        await gate.open()
        #expect(await serving.failure == nil)
        await theirs.close()
      }
    }

    /// The handler of a call with `more` notices that its client has gone.
    @Test func aClientThatGoesCancelsTheHandlerOfMore() async throws {
      try await goAmidMore { _ in }
    }

    /// True even if the client has pipelined other calls: they are received, and the end after
    /// them.
    @Test func aClientThatPipelinesAndGoesCancelsTheHandlerOfMore() async throws {
      try await goAmidMore { ours in
        var files = OwnedFds()
        files.append(try OwnedFd.numbered(1))
        for _ in 0..<20 {
          try await ours.sendMessage(
            Array(#"{"method":"com.example.Test.Read","parameters":{"file":0}}"#.utf8) + [0],
            descriptors: files.span)
        }
      }
    }

    /// A client whose call with `more` has reached a waiting handler performs `last` and then
    /// leaves.
    private func goAmidMore(last: (UnixStream) async throws -> Void) async throws {
      try await withDescriptorOracle { loop in
        let gate = Gate()
        let (ours, theirs) = try UnixStream.makePair()
        let service = Fixture.service(waiting: gate)
        let serving = Task(executorPreference: loop.taskExecutor) {
          try await service.handle(theirs)
        }
        try await ours.sendMessage(
          Array(#"{"method":"com.example.Test.Wait","parameters":{"number":1},"more":true}"#.utf8)
            + [0])
        await gate.untilArrivals(are: 1)
        try await last(ours)
        await ours.close()
        #expect(await serving.failure == nil)
        await theirs.close()
      }
    }

    /// Calls behind one with `more` are answered in order and with their own descriptors, however
    /// many were received ahead, even if the client has shut down its sending side.
    @Test func callsBehindOneWithMore() async throws {
      try await withDescriptorOracle { loop in
        let gate = Gate()
        let (ours, theirs) = try UnixStream.makePair()
        let service = Fixture.service(limits: VarlinkLimits(messageSize: 4000), waiting: gate)
        let serving = Task(executorPreference: loop.taskExecutor) {
          try await service.handle(theirs)
        }
        let client = FramedChannel(ours, format: .zeroTerminated())
        func call(_ method: String, _ parameters: String) async throws {
          var files = OwnedFds()
          if method == "Read" { files.append(try OwnedFd.numbered(7)) }
          let more = method == "Read" ? "" : #","more":true"#
          let text =
            #"{"method":"com.example.Test.\#(method)","parameters":\#(parameters)\#(more)}"#
          try await client.send(Array(text.utf8), descriptors: files.span)
        }
        try await call("Wait", #"{"number":1}"#)
        await gate.untilArrivals(are: 1)
        for _ in 0..<30 {
          try await call("Read", #"{"file":0}"#)
          try await call("Add", #"{"number":1}"#)
        }
        await untilTasksRest(on: loop)
        await gate.open()
        #expect(
          try await client.receive().map { String(decoding: $0.payload, as: UTF8.self) }
            == #"{"parameters":{}}"#)
        for _ in 0..<30 {
          for number in [7, 2] {
            let reply = try await client.receive().map {
              String(decoding: $0.payload, as: UTF8.self)
            }
            #expect(reply == #"{"parameters":{"number":\#(number)}}"#)
          }
        }
        await client.close()
        #expect(await serving.failure == nil)
        await theirs.close()
      }
    }

    /// A server that stops answers the call that it is handling, and ends without waiting for idle
    /// clients.
    @Test func servedByAListener() async throws {
      try await withDescriptorOracle { loop in
        let gate = Gate()
        let address = try UnixAddress(abstract: "varlink-test-\(getpid())")
        let listener = try UnixListener<UnixStream>.bind(to: address)
        let serving = Task(executorPreference: loop.taskExecutor) {
          try await Fixture.service(waiting: gate).serve(
            listener, ServeLimits(gracePeriod: .seconds(3600)))
        }
        let client = try await VarlinkClient.connect(to: VarlinkAddress(address))
        let idle = try await VarlinkClient.connect(to: VarlinkAddress(address))
        #expect(
          try await idle.call("com.example.Test.Add", json: #"{"number":1}"#).parameters
            == #"{"number":2}"#)
        let waiting = Task(executorPreference: loop.taskExecutor) {
          try await client.call("com.example.Test.Wait", json: #"{"number":1}"#).parameters
        }
        await gate.untilArrivals(are: 1)
        serving.cancel()
        await untilTasksRest(on: loop)
        await gate.open()
        #expect(try await waiting.value == "{}")
        try await serving.value
        await #expect(throws: (any Error).self) {
          try await client.call("com.example.Test.Add", json: "{}")
        }
        await client.close()
        await idle.close()
      }
    }

    /// A listener's authorization and policy apply to a service, and a handler can ask for the
    /// caller's identity.
    @Test(arguments: [true, false]) func theListenersRulesHold(isAllowed: Bool) async throws {
      try await withDescriptorOracle { loop in
        let address = try UnixAddress(abstract: "varlink-test-\(getpid())")
        let listener = try UnixListener<UnixStream>.bind(
          to: address, authorization: isAllowed ? .sameUser : .custom { _ in false },
          policy: ReceivePolicy(maximumDescriptorsPerMessage: 1))
        var interface = VarlinkInterface(
          "a.b", description: "interface a.b\nmethod Who() -> (process: int, files: int)")
        interface.method("Who") { (_: VarlinkEmpty, call) in
          [
            "process": Int(try await call.peerIdentity().processID ?? 0),
            "files": call.descriptorCount,
          ]
        }
        var service = VarlinkService(vendor: "", product: "", version: "", url: "")
        service.add(interface)
        let ends = Mutex<[FramingError.Code?]>([])
        let serving = Task(executorPreference: loop.taskExecutor) { [service] in
          try await service.serve(listener) { error in
            ends.withLock { $0.append((error as? FramingError)?.code) }
          }
        }
        let client = try await VarlinkClient.connect(to: VarlinkAddress(address))
        for count in 1...2 {
          var files = OwnedFds()
          for _ in 0..<count { files.append(try OwnedFd.numbered(1)) }
          do {
            let reply = try await client.call(
              "a.b.Who", returning: [String: Int].self, descriptors: files)
            #expect(
              reply.parameters == ["process": Int(getpid()), "files": count] && isAllowed
                && count == 1)
          } catch { #expect(!isAllowed || count == 2, "\(error)") }
        }
        await client.close()
        serving.cancel()
        try await serving.value
        #expect(ends.withLock { $0 } == (isAllowed ? [.incompleteReceive] : []))
      }
    }

    @Test func aClientThatIsDroppedClosesItsConnection() async throws {
      try await withDescriptorOracle { _ in
        let (ours, theirs) = try UnixStream.makePair()
        do {
          let client = VarlinkClient(ours)
          try await client.callOneway("a.b.C")
        }
        _ = try await theirs.receiveMessage()
        #expect(try await theirs.receiveMessage() == nil)
        await theirs.close()
        await ours.close()
      }
    }
  }
}

private func expectError(
  _ name: String, _ json: String? = nil, sourceLocation: SourceLocation = #_sourceLocation,
  _ body: () async throws -> Void
) async {
  do {
    try await body()
    Issue.record("nothing was thrown", sourceLocation: sourceLocation)
  } catch {
    let error = error as? VarlinkError
    #expect(error?.name == name, sourceLocation: sourceLocation)
    if let json { #expect(error?.parametersJSON == json, sourceLocation: sourceLocation) }
  }
}

@Suite struct VarlinkMessages {
  @Test func addresses() throws {
    for text in ["unix:/run/app.sock", "/run/app.sock", "unix:/run/app.sock;mode=0600;x=1"] {
      #expect(try VarlinkAddress(text).description == "unix:/run/app.sock")
    }
    #expect(try VarlinkAddress("unix:@name;x").unix == UnixAddress(abstract: "name"))
    for text in [
      "", "unix:", "unix:relative", "unix:@", "run/app.sock",
      "unix:/" + String(repeating: "a", count: 108),
    ] {
      #expect { try VarlinkAddress(text) } throws: {
        ($0 as? VarlinkFailure)?.code == .invalidAddress
      }
    }
    for text in ["exec:/bin/sh", "tcp:127.0.0.1:80", "ssh:host:/run/x"] {
      #expect { try VarlinkAddress(text) } throws: {
        ($0 as? VarlinkFailure)?.code == .addressNotSupported
      }
    }
  }

  /// The scanner accepts exactly what Foundation's parser accepts, up to its nesting limit.
  @Test func theScannerAgreesWithFoundation() {
    let values = [
      "1", "-0", "0.5e+3", "01", "-", "1.", ".5", "1e", "+1", "true", "tru", "null", "nul", #""a""#,
      #""\n\u00e9""#, #""\x""#, #""\u12""#,
      "\"\n\"",
      "\"", "[]", "[1]", "[1,]", "[,1]", "[1 2]", "{}", #"{"a":1}"#, #"{"a":1,}"#, #"{"a"}"#,
      #"{1:1}"#, #"{"a":{"b":[{}]}}"#, "[[]", "]",
      "",
      " [ 1 , { \"a\" : [ ] } ] ", "[1]x", "NaN", "'a'", "[}", "{]",
    ]
    for value in ["[1,]", #"{"a":1,}"#, "[,]"] {
      #expect(throws: VarlinkFailure.self) {
        try JSONScanner.members(of: Array(#"{"v":\#(value)}"#.utf8)[...])
      }
    }
    for value in values {
      let text = #"{"v":\#(value)}"#
      let isValid = (try? JSONSerialization.jsonObject(with: Data(text.utf8), options: [])) != nil
      // Foundation tolerates a comma after the last element.
      if value.contains(",]") || value.contains(",}") { continue }
      let isAccepted = (try? JSONScanner.members(of: Array(text.utf8)[...])) != nil
      #expect(isAccepted == isValid, "\(text)")
    }
  }

  @Test func levels() {
    func text(_ levels: Int) -> [UInt8] {
      Array(
        (#"{"a":"# + String(repeating: "[", count: levels - 1)
          + String(repeating: "]", count: levels - 1) + "}").utf8)
    }
    #expect(throws: Never.self) { try JSONScanner.members(of: text(128)[...]) }
    for levels in [129, 10_000, 1_000_000] {
      #expect { try JSONScanner.members(of: text(levels)[...]) } throws: {
        ($0 as? VarlinkFailure)?.code == .nestedTooDeeply
      }
    }
  }
}

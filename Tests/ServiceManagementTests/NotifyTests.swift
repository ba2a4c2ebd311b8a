// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets
import SystemPackage
import Testing

@testable import ServiceManagement

@Suite struct NotifyFieldTests {
  @Test func fieldsAreLines() {
    let fields: [NotifyField] = [
      .ready, .status("two\nlines"), .mainProcess(7), .errno(.noMemory),
      .extendTimeout(.milliseconds(1500)),
    ]
    let text = String(decoding: NotifyField.encode(fields), as: UTF8.self)
    #expect(text == "READY=1\nSTATUS=two lines\nMAINPID=7\nERRNO=12\nEXTEND_TIMEOUT_USEC=1500000")
    #expect(NotifyField.decode(Array(text.utf8)) == fields)
  }

  @Test func reloadingHasItsTime() throws {
    let before = Int64(try #require(NotifyField.reloading().last?.value))
    let fields = NotifyField.reloading()
    #expect(fields.map(\.name) == ["RELOADING", "MONOTONIC_USEC"])
    #expect(try #require(Int64(fields[1].value)) >= before ?? .max)
  }

  @Test(arguments: [
    ("", 0), ("READY", 0), ("=1", 0), ("\n\nA=1\n\n", 1), ("A=\u{0}\nB==", 1), ("A=\nA=", 2),
  ])
  func whatIsNoFieldIsPassedOver(text: String, count: Int) {
    #expect(NotifyField.decode(Array(text.utf8))?.count == count)
  }

  @Test func tooManyAreNone() {
    #expect(NotifyField.decode(Array(String(repeating: "A=1\n", count: 64).utf8))?.count == 64)
    #expect(NotifyField.decode(Array(String(repeating: "A=1\n", count: 65).utf8)) == nil)
    #expect(NotifyField.decode([0xFF, 0x3D, 0xFE])?.count == 1)
  }

  @Test(
    arguments: [
      (["WATCHDOG_USEC": "2000000"], Duration.seconds(2)),
      (["WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "\(getpid())"], .seconds(2)),
      (["WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "1"], nil), (["WATCHDOG_USEC": "0"], nil),
      (["WATCHDOG_USEC": "x"], nil), ([:], nil),
    ] as [([String: String], Duration?)]) func watchdog(
      environment: [String: String], interval: Duration?
    )
  {
    #expect(ServiceNotifier(environment: environment).watchdogInterval == interval)
  }
}

extension KernelTests {
  @Suite(.timeLimit(.minutes(1))) struct NotifyTests {
    /// A manager, and a service that talks to it, both in this process.
    private func withManager(
      abstract: Bool = false,
      _ body: @escaping @Sendable (NotifySocket, ServiceNotifier) async throws -> Void
    ) async throws {
      try await withTemporaryPath { path in
        try await withDescriptorOracle { _ in
          let address =
            abstract
            ? try UnixAddress(abstract: "service-tests-\(getpid())") : try UnixAddress(path: path)
          let manager = try await NotifySocket.bind(to: address)
          try await body(
            manager, ServiceNotifier(environment: ["NOTIFY_SOCKET": manager.environmentValue]))
          await manager.close()
        }
      }
    }

    @Test(arguments: [false, true]) func aMessageArrivesWithItsSender(abstract: Bool) async throws {
      try await withManager(abstract: abstract) { manager, service in
        #expect(service.hasManager)
        #expect(try await service.notify(.ready, .status("here")) == .sent)
        let notification = try await manager.receive()
        #expect(notification.isReady && !notification.isBarrier && !notification.isStopping)
        #expect(notification.status == "here")
        #expect(
          notification.sender
            == Credentials(processID: getpid(), userID: getuid(), groupID: getgid()))
        if let process = try notification.takeProcess() {
          #expect(process.processID == getpid())
        }
      }
    }

    @Test func withoutAManagerNothingIsDone() async throws {
      try await withDescriptorOracle { _ in
        let service = ServiceNotifier(environment: [:])
        #expect(!service.hasManager)
        #expect(try await service.notify(.ready) == .noManager)
        #expect(try await service.barrier() == .noManager)
        var files = NamedDescriptors()
        try files.append(try .numbered(1), named: "file")
        #expect(try await service.store(files) == .noManager)
        try await service.keepAlive()
      }
    }

    @Test(arguments: ["vsock:2:1234", "relative", "/" + String(repeating: "x", count: 200)])
    func addressesThatAreNotSupported(text: String) async throws {
      try await withDescriptorOracle { _ in
        let service = ServiceNotifier(environment: ["NOTIFY_SOCKET": text])
        await #expect { try await service.notify(.ready) } throws: {
          ($0 as? ServiceError)?.code == .unsupportedAddress
        }
        await #expect { try await service.barrier() } throws: {
          ($0 as? ServiceError)?.code == .unsupportedAddress
        }
      }
    }

    @Test func nobodyIsThere() async throws {
      try await withTemporaryPath { path in
        try await withDescriptorOracle { _ in
          let service = ServiceNotifier(to: try UnixAddress(path: path))
          await #expect { try await service.notify(.ready) } throws: {
            ($0 as? SocketError)?.code == .notFound
          }
          let gone = ServiceNotifier(to: try UnixAddress(abstract: "nobody-\(getpid())"))
          await #expect { try await gone.notify(.ready) } throws: {
            ($0 as? SocketError)?.code == .connectionRefused
          }
        }
      }
    }

    /// A manager that does not read: at some point the queue is full, and the deadline passes.
    @Test func aFullQueue() async throws {
      try await withManager { manager, service in
        var sent = 0
        do {
          while sent < 10_000 {
            try await service.notify([.watchdog], deadline: .now + .milliseconds(200))
            sent += 1
          }
          Issue.record("the queue is never full")
        } catch let error as SocketError {
          #expect(error.code == .deadlineExceeded)
        }
        // Exactly the messages that were sent arrive, in order.
        for _ in 0..<sent { #expect(try await manager.receive().isWatchdog) }
        try await service.notify(.ready)
        #expect(try await manager.receive().isReady)
      }
    }

    @Test func aBarrierEndsWhenItsMessageIsDropped() async throws {
      try await withManager { manager, service in
        try await service.notify(.ready)
        let barrier = Task { try await service.barrier(deadline: .now + .seconds(30)) }
        #expect(try await manager.receive().isReady)
        do {
          let message = try await manager.receive()
          #expect(message.isBarrier)
          #expect(message.descriptorCount == 1)
          #expect(message.takeDescriptorsToStore().count == 0)
        }
        #expect(try await barrier.value == .sent)
      }
    }

    @Test func aManagerThatNeverAnswers() async throws {
      try await withManager { manager, service in
        await #expect { try await service.barrier(deadline: .now + .milliseconds(50)) } throws: {
          ($0 as? SocketError)?.code == .deadlineExceeded
        }
        let waiting = Task { try await service.barrier(deadline: .now + .seconds(30)) }
        // The messages of the first and the second: received, and held.
        let held = [try await manager.receive(), try await manager.receive()]
        waiting.cancel()
        await #expect(throws: CancellationError.self) { try await waiting.value }
        #expect(held.map(\.isBarrier) == [true, true])
      }
    }

    @Test(arguments: ["BARRIER=1", "BARRIER=1\nREADY=1", "READY=1\nBARRIER=1"])
    func aBarrierThatIsNone(text: String) async throws {
      try await withManager { manager, service in
        let socket = try UnixDatagram()
        let pipe = try Pipe()
        let address = try #require(UnixAddress(manager.environmentValue))
        var descriptors = OwnedFds()
        descriptors.append(pipe.takeWriter())
        if text == "BARRIER=1" { descriptors.append(try .numbered(1)) }
        try await socket.sendMessage(Array(text.utf8), descriptors: descriptors.span, to: address)
        descriptors.closeAll()
        try await service.notify(.stopping)
        #expect(try await manager.receive().isStopping)
        #expect(manager.droppedCount == 1)
        #expect(pipe.comesToAnEnd)
        await socket.close()
      }
    }

    @Test func theWatchdogIsFedOnTheLoop() async throws {
      try await withManager { manager, _ in
        let environment = ["NOTIFY_SOCKET": manager.environmentValue, "WATCHDOG_USEC": "20000"]
        let service = ServiceNotifier(environment: environment)
        let feeding = Task { try await service.keepAlive() }
        for _ in 0..<5 { #expect(try await manager.receive().isWatchdog) }
        feeding.cancel()
        try await feeding.value
      }
    }

    /// Code that blocks the loop's thread suppresses the pings, which is their purpose.
    @Test func aLoopThatIsBlockedFeedsNoWatchdog() async throws {
      try await withManager { manager, _ in
        let environment = ["NOTIFY_SOCKET": manager.environmentValue, "WATCHDOG_USEC": "20000"]
        let blocked = try IOLoop()
        let feeding = Task {
          try await ServiceNotifier(environment: environment, on: blocked).keepAlive()
        }
        for _ in 0..<3 { #expect(try await manager.receive().isWatchdog) }
        // A loop whose thread is not blocked would send 30 pings in this time.
        await blocked.run { _ = usleep(300_000) }
        try await ServiceNotifier(environment: environment).notify(.stopping)
        var pings = 0
        while try await manager.receive().isWatchdog { pings += 1 }
        #expect(pings < 10)
        feeding.cancel()
        try await feeding.value
        await blocked.shutdown()
      }
    }

    /// A service stores 300 files with the test, and ends. The test passes them to the service's
    /// next process, which takes them under their name.
    @Test func whatAServiceHasStoredComesBack() async throws {
      try await withManager { manager, _ in
        let variables = ["NOTIFY_SOCKET": manager.environmentValue]
        var first = ServiceTool.command(["notify", "store=300", "barrier"], variables)
        let storing = try await RunningTool(&first)
        var second = ServiceTool.command(["activation", "files=any"])
        while true {
          let notification = try await manager.receive()
          #expect(notification.sender.processID == storing.process.processID)
          if second.descriptors.count == 300, notification.isBarrier { break }
          second.descriptors.append(contentsOf: notification.takeDescriptorsToStore())
        }
        #expect(try await storing.linesToEnd() == ["sent", "barrier sent"])
        #expect(try await storing.process.end() == .exited(0))
        #expect(second.descriptors.count == 300)
        do {
          let files = second.descriptors.span
          for number in files.indices { #expect(try files[number].text == "\(number)") }
        }
        let lines = try await ServiceTool.run(&second)
        #expect(
          lines.first == "names: " + Array(repeating: "files", count: 300).joined(separator: " "))
        #expect(lines.dropFirst(2).first == "files: regular file")
        #expect(lines.last == "open: 0")
      }
    }

    /// 600 descriptors with two names: four messages, each processed before the next is sent.
    @Test func theStore() async throws {
      // Both ends hold all of them.
      try await withDescriptorLimit(4096) {
        try await withManager { manager, service in
          let storing = Task {
            var files = NamedDescriptors()
            for number in 0..<600 {
              try files.append(try .numbered(number), named: number < 2 ? "first" : "second")
            }
            try await service.store(files, watchingForEnd: false, deadline: .now + .seconds(30))
            try await service.removeStored(named: "first")
          }
          var stored = NamedDescriptors()
          var counts: [Int] = []
          while true {
            let message = try await manager.receive()
            if let name = message.nameToRemove {
              #expect(name == "first")
              break
            }
            if message.isBarrier { continue }
            #expect(message["FDPOLL"] == "0")
            let taken = message.takeDescriptorsToStore()
            counts.append(taken.count)
            stored.append(contentsOf: taken)
          }
          try await storing.value
          #expect(counts == [2, 253, 253, 92])
          #expect(
            stored.names == Array(repeating: "first", count: 2)
              + Array(repeating: "second", count: 598))
          for number in 0..<600 { #expect(try stored.takeFirst()?.number == number) }
          await #expect { try await service.removeStored(named: "a:b") } throws: {
            ($0 as? ServiceError)?.code == .invalidName
          }
        }
      }
    }

    /// A message that is not admitted is dropped with its descriptors; the next one is received.
    @Test func whatIsDropped() async throws {
      try await withManager { manager, service in
        let socket = try UnixDatagram()
        let pipe = try Pipe()
        let address = try #require(UnixAddress(manager.environmentValue))
        let texts = [
          String(repeating: "x", count: 4097), String(repeating: "A=1\n", count: 65),
          String(repeating: "y", count: 100_000),
        ]
        for text in texts {
          try await socket.sendMessage(
            Array(text.utf8), descriptor: try pipe.duplicateWriter(), to: address)
        }
        pipe.closeWriter()
        try await service.notify(.ready)
        #expect(try await manager.receive().isReady)
        #expect(manager.droppedCount == texts.count)
        #expect(pipe.comesToAnEnd)
        await socket.close()
      }
    }

    @Test func sendersThatAreNotAdmitted() async throws {
      try await withTemporaryPath { path in
        try await withDescriptorOracle { _ in
          let manager = try await NotifySocket.bind(to: UnixAddress(path: path)) {
            $0.processID != getpid()
          }
          try await ServiceNotifier(to: UnixAddress(path: path)).notify(.stopping)
          var command = ServiceTool.command(
            ["notify", "ready"], ["NOTIFY_SOCKET": manager.environmentValue])
          let lines = try await ServiceTool.run(&command)
          #expect(lines == ["sent"])
          let notification = try await manager.receive()
          #expect(notification.isReady)
          #expect(manager.droppedCount == 1)
          await manager.close()
        }
      }
    }

    /// A sender at maximum speed. Messages that are not asked for are not received, and descriptors
    /// that are not taken are closed.
    @Test func aFlood() async throws {
      try await withManager { manager, service in
        let address = try #require(UnixAddress(manager.environmentValue))
        let before = openDescriptors().count
        let flood = Task {
          let socket = try UnixDatagram()
          try await socket.connect(to: address)
          let file = try OwnedFd.numbered(1)
          do {
            while true {
              var files = OwnedFds()
              for _ in 0..<200 { files.append(try file.duplicate()) }
              try await socket.sendMessage(Array("FDSTORE=1".utf8), descriptors: files.span)
            }
          } catch is CancellationError {}
          await socket.close()
        }
        for _ in 0..<300 { #expect(try await manager.receive().descriptorCount == 200) }
        // Only the sender's own descriptors, and those waiting to be closed.
        #expect(openDescriptors().count < before + 2000)
        flood.cancel()
        try await flood.value
      }
    }

    @Test func theSequenceEndsWithTheSocket() async throws {
      try await withManager { manager, service in
        try await service.notify(.ready)
        var count = 0
        for try await notification in manager.messages where notification.isReady {
          count += 1
          await manager.close()
        }
        #expect(count == 1)
      }
    }
  }
}

// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets
import Synchronization
import SystemPackage
import Testing

@testable import ServiceManagement

/// An echo server that can be replaced, and its successors, as real processes.
struct Generations: Sendable {
  let control: UnixAddress
  let arguments: [String]
  let port: UInt16
  private let local: UnixAddress
  private let clients = Clients()

  var address: InternetAddress { InternetAddress(.loopback as IPv4Address, port: port) }

  /// Uses the directory of a temporary path.
  init(_ path: FilePath) async throws {
    let directory = path.removingLastComponent()
    control = try UnixAddress(path: directory.appending("control"))
    local = try UnixAddress(path: directory.appending("local"))
    arguments = ["hand-over", "\(control)", "\(local)"]
    // The port is free now, so a process that has not inherited a listener can bind it.
    let reserved = try TCPListener.bind(to: InternetAddress(.loopback as IPv4Address, port: 0))
    port = reserved.address.port
    await reserved.close()
  }

  func start(_ variables: [String: String] = [:]) async throws -> RunningTool {
    try await RunningTool(
      arguments,
      ["PORT": "\(port)", "EXTRA": "300", "STATE": "100000"].merging(variables) { _, new in new })
  }

  /// Clients of the TCP address, stopped at the latest when `withGenerations` returns.
  func load(clients count: Int = 8) throws -> Load {
    let load = try Load(address, clients: count)
    clients.add { _ = await load.stop() }
    return load
  }

  /// Clients of the path.
  func localLoad() throws -> Load {
    let load = try Load(local)
    clients.add { _ = await load.stop() }
    return load
  }

  /// Clients that keep their connections.
  func sessions() async throws -> SessionLoad {
    let load = try SessionLoad(address, local)
    clients.add { _ = await load.stop() }
    try await load.begin()
    return load
  }

  func stopClients() async { await clients.stop() }

  /// Asks the server at the path.
  func askLocally() async throws -> String {
    let socket = try await UnixStream.connect(to: local)
    try await socket.sendMessage(Array("here\n".utf8))
    var answer: [UInt8] = []
    while let message = try await socket.receiveMessage() { answer += message.payload }
    await socket.close()
    return String(decoding: answer, as: UTF8.self)
  }
}

/// How to stop clients: a test that throws must not leave them to the next one.
private final class Clients: Sendable {
  private let stops = Mutex<[@Sendable () async -> Void]>([])

  func add(_ stop: @escaping @Sendable () async -> Void) { stops.withLock { $0.append(stop) } }

  func stop() async {
    for stop in stops.withLock({ $0 }) { await stop() }
  }
}

func withGenerations(_ body: (Generations, FilePath) async throws -> Void) async throws {
  try await withTemporaryPath { path in
    try await withDescriptorOracle { _ in
      let generations = try await Generations(path)
      do {
        try await body(generations, path)
      } catch {
        await generations.stopClients()
        throw error
      }
      await generations.stopClients()
    }
  }
}

enum TestedDrivers {
  /// Whether a process that may choose gets a ring.
  static let areTwo: Bool = {
    guard
      let process = try? ChildProcess(
        [ServiceTool.path, "driver"], environment: ["MESSAGE_SOCKETS_DRIVER": "io_uring"])
    else { return false }
    return process.exitStatus() == 0
  }()

  /// Variables that give a process the driver that these tests do not run on.
  static var other: [String: String] {
    ["MESSAGE_SOCKETS_DRIVER": TestLoop.isOnRing ? "epoll" : "io_uring"]
  }
}

extension RunningTool {
  /// Sends SIGTERM, and expects that the process succeeds.
  func terminate(sourceLocation: SourceLocation = #_sourceLocation) async throws {
    try process.signal(SIGTERM)
    let lines = try await linesToEnd()
    #expect(lines.last == "ended: ended", "\(lines)", sourceLocation: sourceLocation)
    #expect(try await process.end() == .exited(0), sourceLocation: sourceLocation)
  }

  /// Waits for the count, because another thread closes what a policy refuses.
  func untilDescriptorCount(
    _ count: Int, sourceLocation: SourceLocation = #_sourceLocation
  ) async throws {
    for _ in 0..<2000 where descriptorCount > count {
      try await IOLoop.currentOrShared().sleep(for: .milliseconds(5))
    }
    #expect(descriptorCount <= count, sourceLocation: sourceLocation)
  }

  func expectReplaced(sourceLocation: SourceLocation = #_sourceLocation) async throws {
    let lines = try await linesToEnd()
    #expect(lines.last == "ended: replaced", "\(lines)", sourceLocation: sourceLocation)
    #expect(
      !lines.contains { $0.hasPrefix("a session") }, "\(lines)", sourceLocation: sourceLocation)
    #expect(try await process.end() == .exited(0), sourceLocation: sourceLocation)
  }
}

extension SessionLoad {
  /// Ends the clients. Expects that no connection was lost, that each question got exactly one
  /// answer, and that `servers` processes have answered.
  func expectsNoLoss(and servers: Int, sourceLocation: SourceLocation = #_sourceLocation) async {
    let counts = await stop()
    #expect(
      counts.lost == 0 && counts.wrong == 0 && counts.servers.count == servers, "\(counts)",
      sourceLocation: sourceLocation)
  }
}

extension KernelTests {
  @Suite(.timeLimit(.minutes(3))) struct HandOverTests {
    /// Three generations under load: no connection is refused or lost, no question is answered
    /// twice, everything from the first generation arrives, and the files exist until the last
    /// process has ended.
    @Test func generationsFollowEachOther() async throws {
      try await withGenerations { generations, path in
        var server = try await generations.start()
        try await server.lines(until: "pid")
        let load = try generations.load()
        let sessions = try await generations.sessions()
        try await load.answer(50)
        var second: Int?
        for _ in 0..<3 {
          let next = try await generations.start()
          let lines = try await next.lines(until: "event: predecessorDrained")
          #expect(lines.contains("inherited 300 files, 100000 bytes, intact: true"))
          #expect(lines.contains("inherited sessions: \(sessions.count)"))
          #expect(
            lines.contains(
              "pid \(next.process.processID) at \(generations.address), successor, complete: true"))
          try await server.expectReplaced()
          server = next
          try await load.answer(50)
          try await sessions.answer(50)
          #expect(try await generations.askLocally() == "\(server.process.processID) here\n")
          // No process has a descriptor twice; the connections of eight clients come and go.
          if let second {
            try await server.untilDescriptorCount(second + 8)
          } else {
            second = server.descriptorCount
          }
        }
        let counts = await load.stop()
        await sessions.expectsNoLoss(and: 4)
        #expect(counts.refused == 0 && counts.lost == 0 && counts.wrong == 0, "\(counts)")
        #expect(counts.servers.count == 4)
        try await server.terminate()
        #expect(access("\(path.removingLastComponent())/local", F_OK) != 0)
        #expect(access("\(path.removingLastComponent())/control", F_OK) != 0)
      }
    }

    /// Generations on epoll and on io_uring take over from each other, while clients ask over TCP
    /// and at the path.
    @Test(
      .enabled(if: TestedDrivers.areTwo, "io_uring is not to be had here"),
      arguments: [["epoll", "io_uring"], ["io_uring", "epoll"]])
    func generationsOnOtherDrivers(drivers: [String]) async throws {
      try await withGenerations { generations, _ in
        var server = try await generations.start(["MESSAGE_SOCKETS_DRIVER": drivers[0]])
        #expect(try await server.lines(until: "driver").last == "driver: \(drivers[0])")
        let load = try generations.load()
        let localLoad = try generations.localLoad()
        let sessions = try await generations.sessions()
        for generation in 1...4 {
          try await load.answer(50)
          try await localLoad.answer(50)
          try await sessions.answer(50)
          let driver = drivers[generation % 2]
          let next = try await generations.start(["MESSAGE_SOCKETS_DRIVER": driver])
          let lines = try await next.lines(until: "event: predecessorDrained")
          #expect(lines.contains("driver: \(driver)"))
          #expect(lines.contains("inherited 300 files, 100000 bytes, intact: true"))
          try await server.expectReplaced()
          server = next
        }
        try await load.answer(50)
        try await localLoad.answer(50)
        try await sessions.answer(50)
        await sessions.expectsNoLoss(and: 5)
        for load in [load, localLoad] {
          let counts = await load.stop()
          #expect(counts.refused == 0 && counts.lost == 0 && counts.wrong == 0, "\(counts)")
          #expect(counts.servers.count == 5)
        }
        try await server.terminate()
      }
    }

    /// The steps at which the following tests kill a process are complete.
    @Test func everyStepIsAmongThoseThatAreKilledAt() async throws {
      try await withGenerations { generations, _ in
        let first = try await generations.start()
        try await first.lines(until: "pid")
        let next = try await generations.start()
        let events = { (lines: [String]) in
          lines.filter { $0.hasPrefix("event: ") }.map { String($0.dropFirst("event: ".count)) }
        }
        let ofNext = events(try await next.lines(until: "event: predecessorDrained"))
        // The last one is no step of the hand-over: the process serves alone.
        #expect(ofNext == Self.stepsOfASuccessor + ["servingSent", "predecessorDrained"])
        #expect(events(try await first.linesToEnd()) == Self.stepsOfAPredecessor.map(\.0))
        _ = try await first.process.end()
        try await next.terminate()
      }
    }

    /// With 16 sessions, two listeners and the control socket, this makes 303 descriptors.
    private static let filesBesideSessions = 284

    static let stepsOfASuccessor = [
      "predecessorFound", "helloSent", "offerReceived", "batchReceived(1)", "batchReceived(254)",
      "batchReceived(303)",
      "everythingReceived", "readySent", "goReceived",
    ]

    /// kill -9 of a successor at each step before it accepts: the predecessor continues to serve
    /// with everything, including its open connections, and the next process replaces it.
    @Test(arguments: stepsOfASuccessor) func aSuccessorDies(at step: String) async throws {
      try await killASuccessor(at: step)
    }

    /// A successor dies that runs on the other driver.
    @Test(
      .enabled(if: TestedDrivers.areTwo, "io_uring is not to be had here"),
      arguments: stepsOfASuccessor)
    func aSuccessorOnTheOtherDriverDies(at step: String) async throws {
      try await killASuccessor(at: step, TestedDrivers.other)
    }

    private func killASuccessor(at step: String, _ variables: [String: String] = [:]) async throws {
      try await withGenerations { generations, _ in
        let first = try await generations.start(["EXTRA": "\(Self.filesBesideSessions)"])
        try await first.lines(until: "pid")
        let sessions = try await generations.sessions()
        let before = first.descriptorCount
        let load = try generations.load()
        try await load.answer(20)
        let dying = try await generations.start(["KILL_AT": step].merging(variables) { $1 })
        _ = try await dying.linesToEnd()
        #expect(try await dying.process.end() == .signalled(SIGKILL))
        try await first.lines(until: "event: failed")
        try await load.answer(20)
        try await sessions.answer(40)
        #expect(try await generations.askLocally() == "\(first.process.processID) here\n")
        let earlier = await load.stop()
        try await first.untilDescriptorCount(before)

        let secondLoad = try generations.load()
        let next = try await generations.start()
        let lines = try await next.lines(until: "event: servingSent")
        #expect(
          lines.contains(
            "inherited \(Self.filesBesideSessions) files, 100000 bytes, intact: true"))
        #expect(lines.contains("inherited sessions: \(sessions.count)"))
        try await first.expectReplaced()
        try await secondLoad.answer(20)
        try await sessions.answer(40)
        await sessions.expectsNoLoss(and: 2)
        for counts in [earlier, await secondLoad.stop()] {
          #expect(counts.refused == 0 && counts.lost == 0 && counts.wrong == 0, "\(counts)")
        }
        try await next.terminate()
      }
    }

    /// kill -9 of a successor that serves: the predecessor is notified. All open connections that
    /// were handed over are lost, and none of their questions is answered twice. The next process
    /// starts from scratch.
    @Test func aSuccessorDiesWhenItServes() async throws {
      try await withGenerations { generations, _ in
        let first = try await generations.start()
        try await first.lines(until: "pid")
        let sessions = try await generations.sessions()
        // A client that is being served keeps the predecessor from ending.
        let client = try await TCPStream.connect(to: generations.address)
        try await client.sendMessage(Array("slo".utf8))
        let dying = try await generations.start(["KILL_AT": "servingSent"])
        _ = try await dying.linesToEnd()
        #expect(try await dying.process.end() == .signalled(SIGKILL))
        try await first.lines(until: "event: successorEnded")
        try await sessions.loseAll()
        let counts = await sessions.stop()
        #expect(counts.lost == sessions.count && counts.wrong == 0, "\(counts)")
        try await client.sendMessage(Array("w\n".utf8))
        #expect(
          try await client.receiveMessage()?.payload
            == Array("\(first.process.processID) slow\n".utf8))
        await client.close()
        let lines = try await first.linesToEnd()
        #expect(lines.last == "ended: replaced")
        #expect(try await first.process.end() == .exited(0))
        let next = try await generations.start()
        #expect(try await next.lines(until: "pid").last?.contains("first") == true)
        try await next.terminate()
      }
    }

    /// The steps, and whether the successor has the listeners, and the items after them, by then.
    static let stepsOfAPredecessor = [
      ("successorConnected", false), ("offerSent", false), ("batchSent(1)", false),
      ("batchAcknowledged(1)", false),
      ("batchSent(254)", false), ("batchAcknowledged(254)", false),
      ("batchSent(303)", true), ("batchAcknowledged(303)", true), ("stateSent", true),
      ("successorReady", true), ("goSent", true),
      ("successorServing", true), ("drained", true),
    ]

    /// kill -9 of a predecessor at each step: the successor serves with what it has, and later the
    /// next process takes over from it. Open connections are lost only if the predecessor had not
    /// sent them.
    @Test(arguments: stepsOfAPredecessor) func aPredecessorDies(
      at step: String, successorHasListeners: Bool
    ) async throws {
      try await killAPredecessor(at: step, successorHasListeners)
    }

    /// A predecessor dies whose successor runs on the other driver.
    @Test(
      .enabled(if: TestedDrivers.areTwo, "io_uring is not to be had here"),
      arguments: stepsOfAPredecessor)
    func aPredecessorOfTheOtherDriverDies(at step: String, successorHasListeners: Bool) async throws
    {
      try await killAPredecessor(at: step, successorHasListeners, TestedDrivers.other)
    }

    private func killAPredecessor(
      at step: String, _ successorHasListeners: Bool, _ variables: [String: String] = [:]
    ) async throws {
      try await withGenerations { generations, _ in
        let dying = try await generations.start([
          "KILL_AT": step, "EXTRA": "\(Self.filesBesideSessions)",
        ])
        try await dying.lines(until: "pid")
        let sessions = try await generations.sessions()
        let clients = 8
        let load = try generations.load(clients: clients)
        try await load.answer(20)
        let next = try await generations.start(variables)
        _ = try await dying.linesToEnd()
        #expect(try await dying.process.end() == .signalled(SIGKILL))
        let lines = try await next.lines(until: "pid")
        // A partial state is not complete, and is reported as incomplete.
        #expect(
          lines.last!.contains("complete: true") || !successorHasListeners
            || step.hasPrefix("batch"), "\(lines)")
        try await load.answer(40)
        if successorHasListeners {
          try await sessions.answer(40)
        } else {
          try await sessions.loseAll()
        }
        #expect(try await generations.askLocally() == "\(next.process.processID) here\n")

        let third = try await generations.start()
        try await third.lines(until: "event: servingSent")
        try await next.expectReplaced()
        try await load.answer(20)
        if successorHasListeners {
          try await sessions.answer(40)
          await sessions.expectsNoLoss(and: 3)
        } else {
          let counts = await sessions.stop()
          #expect(counts.lost == sessions.count && counts.wrong == 0, "\(counts)")
          #expect(counts.servers == [dying.process.processID])
        }
        let counts = await load.stop()
        // Each client loses the connection that the killed process was serving. If no process has
        // the listeners at that moment, it can lose a second one, in the backlog: the kernel closes
        // the connections of a killed process before its listeners.
        let mostLost = successorHasListeners ? clients : 2 * clients
        #expect(counts.lost <= mostLost && counts.wrong == 0, "\(counts)")
        #expect(counts.refused == 0 || !successorHasListeners, "\(counts)")
        try await third.terminate()
      }
    }

    @Test func oneSuccessorAtATime() async throws {
      try await withGenerations { generations, _ in
        let first = try await generations.start()
        try await first.lines(until: "pid")
        let slow = try await generations.start(["STOP_AT": "everythingReceived"])
        try await slow.lines(until: "event: everythingReceived")
        let second = try await generations.start()
        let lines = try await second.linesToEnd()
        #expect(
          lines.last
            == "error: handOverUnderWay: handOverUnderWay: another successor is being served",
          "\(lines)")
        #expect(try await second.process.end() == .exited(1))
        try slow.process.signal(SIGCONT)
        try await slow.lines(until: "event: servingSent")
        try await first.expectReplaced()
        try await slow.terminate()
      }
    }

    @Test func aSuccessorThatTakesTooLong() async throws {
      try await withGenerations { generations, _ in
        let first = try await generations.start(["STEP_LIMIT": "\(300 * slowness)"])
        try await first.lines(until: "pid")
        let slow = try await generations.start(["STOP_AT": "everythingReceived"])
        try await first.lines(until: "event: failed(timedOut")
        try await first.lines(until: "taken back: 300")
        try slow.process.signal(SIGCONT)
        let lines = try await slow.linesToEnd()
        #expect(lines.last?.hasPrefix("error: refused: timedOut") == true, "\(lines)")
        #expect(try await slow.process.end() == .exited(1))
        try await first.terminate()
      }
    }

    @Test func aPredecessorThatTakesTooLong() async throws {
      try await withGenerations { generations, _ in
        let first = try await generations.start(["STOP_AT": "batchAcknowledged(1)"])
        try await first.lines(until: "pid")
        let impatient = try await generations.start(["STEP_LIMIT": "\(300 * slowness)"])
        let lines = try await impatient.linesToEnd()
        #expect(
          lines.last?.hasPrefix("error: timedOut: no ") == true, "\(lines)")
        try first.process.signal(SIGCONT)
        try await first.lines(until: "event: failed")
        let next = try await generations.start()
        try await next.lines(until: "event: servingSent")
        try await first.expectReplaced()
        try await next.terminate()
      }
    }

    @Test func anotherVersionOfTheState() async throws {
      try await withGenerations { generations, _ in
        let first = try await generations.start()
        try await first.lines(until: "pid")
        let other = try await generations.start(["VERSION": "2"])
        let lines = try await other.linesToEnd()
        #expect(
          lines.last
            == "error: wrongVersion: wrongVersion: the predecessor has state of version 0, and not 2",
          "\(lines)")
        try await first.terminate()
      }
    }

    /// SIGTERM during a hand-over: the successor is notified, and serves with what it has.
    @Test func aPredecessorIsStoppedMeanwhile() async throws {
      try await withGenerations { generations, _ in
        let first = try await generations.start()
        try await first.lines(until: "pid")
        let next = try await generations.start(["STOP_AT": "everythingReceived"])
        try await next.lines(until: "event: everythingReceived")
        try await first.terminate()
        try next.process.signal(SIGCONT)
        try await next.lines(until: "event: predecessorEnded")
        #expect(try await generations.askLocally() == "\(next.process.processID) here\n")
        try await next.terminate()
      }
    }

    /// Processes that begin at the same time agree on which of them is the first.
    @Test func severalBeginAtTheSameTime() async throws {
      try await withGenerations { generations, _ in
        var all: [RunningTool] = []
        for _ in 0..<3 { all.append(try await generations.start(["EXTRA": "0", "STATE": "0"])) }
        // One is the first; each of the others takes over, or is refused because another one was
        // faster.
        var beginnings: [String: Int] = [:]
        for tool in all {
          var last = "nothing"
          while let line = try await tool.line() {
            last = line
            if line.hasPrefix("pid") || line.hasPrefix("error") { break }
            #expect(line.hasPrefix("event") || line.hasPrefix("inherited"), "\(line)")
          }
          let known = [", first, ", ", successor, ", "error: handOverUnderWay"]
          beginnings[known.first { last.contains($0) } ?? last, default: 0] += 1
        }
        #expect(beginnings[", first, "] == 1, "\(beginnings)")
        #expect(
          beginnings[", successor, ", default: 0]
            + beginnings["error: handOverUnderWay", default: 0]
            == 2, "\(beginnings)")
        for tool in all { try? tool.process.signal(SIGTERM) }
        for tool in all {
          _ = try await tool.linesToEnd()
          _ = try await tool.process.end()
        }
      }
    }
  }
}

// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets
import SeededRandom
import Testing

/// The random actions of a peer.
struct PeerScript: Sendable {
  struct Sending: Sendable {
    var size: Int
    var files: [Int]
  }

  enum Ending: CaseIterable, Sendable { case close, shutdown, reset }

  let seed: UInt64
  let socket: TestedSocket
  let bufferSize: Int
  /// The number of the receiving loop's shared buffers.
  let buffers: Int
  /// Whether loss is reported in the outcome instead of thrown.
  let isReporting: Bool
  /// Whether the receiver waits before the peer sends.
  let waits: Bool
  let peeks: Bool
  /// Each phase is sent completely before the receiver receives it.
  let phases: [[Sending]]
  let ending: Ending

  init(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    self.seed = seed
    socket = TestedSocket.unix.randomElement(using: &random)!
    let bufferSize = [1, 8, 64, 100, 1000, 4096].randomElement(using: &random)!
    self.bufferSize = bufferSize
    buffers = [1, 2, 8].randomElement(using: &random)!
    isReporting = random.oneIn(2)
    waits = random.oneIn(2)
    peeks = random.oneIn(2)
    ending = Ending.allCases.randomElement(using: &random)!
    // An empty packet reads as the end, and so would hide an error after it.
    let mayBeEmpty = socket != .unixStream && !(socket == .unixSeqpacket && ending == .reset)
    var number = 0
    var phases: [[Sending]] = []
    for _ in 0..<random.number(1...4) {
      var phase: [Sending] = []
      for _ in 0..<random.number(1...6) {
        let sizes = [
          1, bufferSize - 1, bufferSize, bufferSize + 1, bufferSize + 200, 2 * bufferSize,
        ]
        var sending = Sending(size: max(1, sizes.randomElement(using: &random)!), files: [])
        if mayBeEmpty, random.oneIn(6) { sending.size = 0 }
        if random.oneIn(3) {
          for _ in 0..<random.number(1...3) {
            sending.files.append(number)
            number += 1
          }
        }
        phase.append(sending)
      }
      phases.append(phase)
    }
    self.phases = phases
  }

  /// The bytes of the message at this index of the script.
  func bytes(_ index: Int, _ sending: Sending) -> [UInt8] {
    (0..<sending.size).map { UInt8(truncatingIfNeeded: index &* 31 &+ $0) }
  }
}

/// A receiver: its driver and form.
struct Observer: Sendable, CustomStringConvertible {
  let driver: IOLoop.DriverChoice
  let form: ReceivingForm
  /// Whether a multishot receive is armed first, so that it receives into the shared buffers.
  let isAhead: Bool

  var description: String { "\(driver), \(form)\(isAhead ? ", ahead" : "")" }

  static var all: [Observer] {
    let drivers: [IOLoop.DriverChoice] = ProbeTool.machineHasRing ? [.ioUring, .epoll] : [.epoll]
    return drivers.flatMap { driver in
      ReceivingForm.allCases.flatMap { form in
        (driver == .ioUring ? [false, true] : [false]).map {
          Observer(driver: driver, form: form, isAhead: $0)
        }
      }
    }
  }
}

extension KernelTests {
  /// Runs one peer's script with every driver and every form of receiving; all must observe
  /// identical events. `SCRIPTS` is the number of scripts (24), `SEED` the first one.
  @Suite(.timeLimit(.minutes(5))) struct Differential {
    @Test func everyFormAndDriverSeesTheSame() async throws {
      let count = environment("SCRIPTS") ?? 24
      let first = environment("SEED") ?? 1
      for seed in first..<(first + count) {
        let script = PeerScript(seed: seed)
        for observer in Observer.all {
          var seen: [Observation] = []
          try await withReceivingLoop(script, observer) { loop in
            seen = try await observe(script, observer, on: loop)
          }
          let expected = expectation(of: script)
          let isSame =
            script.socket == .unixStream ? flat(seen) == flat(expected) : seen == expected
          if isSame { continue }
          Issue.record(
            "SEED=\(seed) SCRIPTS=1: \(observer): \(seen), expected \(expected) of \(script)")
          return
        }
        if script.socket == .unixStream { try await observeBytes(script) }
      }
    }

    private func environment(_ name: String) -> UInt64? {
      getenv(name).flatMap { UInt64(String(cString: $0)) }
    }

    private func withReceivingLoop(
      _ script: PeerScript, _ observer: Observer, _ body: (IOLoop) async throws -> Void
    ) async throws {
      var configuration = IOLoop.Configuration()
      configuration.driver = observer.driver
      configuration.receiveBufferSize = script.bufferSize
      configuration.receiveBuffers = script.buffers
      try await withOwnLoop(configuration) { loop in try await loop.run { try await body(loop) } }
    }

    // MARK: Expectations

    private func expectation(of script: PeerScript) -> [Observation] {
      var expected: [Observation] = []
      var index = 0
      for sending in script.phases.joined() {
        let bytes = script.bytes(index, sending)
        index += 1
        if script.socket == .unixSeqpacket, bytes.isEmpty, sending.files.isEmpty {
          expected.append(.end)
          continue
        }
        var seen = Observation.Seen(bytes: bytes, files: sending.files)
        if script.socket != .unixStream, bytes.count > script.bufferSize {
          seen.bytes = Array(bytes.prefix(script.bufferSize))
          seen.fullLength = bytes.count
          seen.isThrown = !script.isReporting
        }
        expected.append(.message(seen))
      }
      return expected + lastOnes(script)
    }

    private func lastOnes(_ script: PeerScript) -> [Observation] {
      switch script.socket {
      case .unixDatagram: script.ending == .reset ? [.failed(.connectionReset)] : []
      default: script.ending == .reset ? [.failed(.connectionReset), .end] : [.end]
      }
    }

    /// A stream has no boundaries, so only its bytes, its files and its end are compared.
    private func flat(_ seen: [Observation]) -> [Observation] {
      let messages = seen.prefix { !$0.isLast }
      let all = Observation.Seen(bytes: messages.flatMap(\.bytes), files: messages.flatMap(\.files))
      return [.message(all)] + seen.dropFirst(messages.count)
    }

    // MARK: Seeing it

    private func observe(
      _ script: PeerScript, _ observer: Observer, on loop: IOLoop
    ) async throws -> [Observation] {
      let (left, right) = try script.socket.makeUnixPair(on: loop)
      if script.isReporting { try await right.setReceivePolicy(.reportingLoss) }
      var seen: [Observation] = []
      if observer.isAhead {
        // Arms the multishot receive.
        try await left.sendMessage([0])
        let first = try await Reception(socket: script.socket, isAhead: true).next(from: right)
        #expect(first?.payload == [0])
      }
      // Bytes that the peer has not read when it closes cause the reset.
      if script.ending == .reset { try await right.sendMessage([9]) }
      var index = 0
      for (number, phase) in script.phases.enumerated() {
        let isLast = number == script.phases.count - 1
        let start = index
        async let sending: Void = send(script, phase, from: start, isLast, left)
        if !script.waits { try await sending }
        if script.peeks, !script.waits { try await peek(script, phase[0], start, at: right) }
        let wanted = isLast ? lastOnes(script).count : 0
        seen += await receive(script, phase, wanted, observer.form, from: right)
        try await sending
        index += phase.count
      }
      await left.close()
      await right.close()
      return seen
    }

    private func send(
      _ script: PeerScript, _ phase: [PeerScript.Sending], from start: Int, _ isLast: Bool,
      _ left: any UnixSocket
    ) async throws {
      for (offset, sending) in phase.enumerated() {
        var files = OwnedFds()
        for number in sending.files { files.append(try .numbered(number)) }
        let bytes = script.bytes(start + offset, sending)
        try await left.sendMessage(bytes, descriptors: files.span)
      }
      guard isLast else { return }
      switch (script.socket, script.ending) {
      case (.unixDatagram, .reset):
        // The previous peer gets an error.
        let other = try UnixDatagram.bind(to: .autobind)
        try await (left as! UnixDatagram).connect(
          to: try #require(try await other.localAddress()?.unix))
        await other.close()
      case (.unixDatagram, _): break
      case (_, .shutdown): try await left.shutdown(.sending)
      default: await left.close()
      }
    }

    /// A peek takes nothing, and shows the next message.
    private func peek(
      _ script: PeerScript, _ first: PeerScript.Sending, _ index: Int, at right: any UnixSocket
    ) async throws {
      let bytes = Array(script.bytes(index, first).prefix(script.bufferSize))
      let message = try await right.receiveMessage(options: .peek)
      guard let message else {
        #expect(bytes.isEmpty && first.files.isEmpty)
        return
      }
      #expect(message.payload.starts(with: bytes), "a look at \(script)")
      if script.socket != .unixStream { #expect(message.descriptorCount == first.files.count) }
    }

    /// Receives everything of a phase, and what follows at the end.
    private func receive(
      _ script: PeerScript, _ phase: [PeerScript.Sending], _ wanted: Int, _ form: ReceivingForm,
      from right: any UnixSocket
    ) async -> [Observation] {
      var seen: [Observation] = []
      let isStream = script.socket == .unixStream
      let total = phase.reduce(0) { $0 + $1.size }
      while isStream ? seen.reduce(0, { $0 + $1.bytes.count }) < total : seen.count < phase.count {
        let more = await form.observe(right, room: script.bufferSize)
        seen += more
        if isStream, more.contains(where: \.isLast) { return seen }
      }
      let messages = seen.count
      while seen.count < messages + wanted {
        seen += await form.observe(right, room: script.bufferSize)
      }
      return seen
    }

    // MARK: Bytes

    /// Every byte is seen once, by `bytes` or by the receive after it, and so is every file from
    /// that point on.
    private func observeBytes(_ script: PeerScript) async throws {
      for observer in Observer.all where observer.form == .message {
        try await withReceivingLoop(script, observer) { loop in
          let (left, right) = try UnixStream.makePair(on: loop)
          var sent: [UInt8] = []
          for (index, sending) in script.phases.joined().enumerated() {
            sent += script.bytes(index, sending)
            var files = OwnedFds()
            for number in sending.files { files.append(try .numbered(number)) }
            try await left.sendMessage(script.bytes(index, sending), descriptors: files.span)
          }
          if script.ending == .reset { try await right.sendMessage([9]) }
          await left.close()
          var random = SeededGenerator(seed: script.seed)
          var seen: [UInt8] = []
          var files: [Int] = []
          var last: Observation?
          while last == nil {
            if random.oneIn(2) {
              let observed = await ReceivingForm.message.observe(right, room: 1)
              seen += observed.flatMap(\.bytes)
              files += observed.flatMap(\.files)
              last = observed.first(where: \.isLast)
            } else {
              var count = random.number(1...max(2, script.bufferSize / 2))
              do {
                for try await byte in right.bytes {
                  seen.append(byte)
                  count -= 1
                  if count == 0 { break }
                }
                if count > 0 { last = .end }
              } catch { last = Observation(error) }
            }
          }
          #expect(seen == sent, "SEED=\(script.seed) SCRIPTS=1: \(observer), bytes")
          #expect(
            files == files.sorted(), "SEED=\(script.seed) SCRIPTS=1: \(observer), bytes: \(files)")
          #expect(last == (script.ending == .reset ? .failed(.connectionReset) : .end))
          await right.close()
        }
      }
    }
  }
}

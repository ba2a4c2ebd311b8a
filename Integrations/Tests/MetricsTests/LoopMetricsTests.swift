// SPDX-License-Identifier: Apache-2.0
import CoreMetrics
import Dispatch
import MessageSocketsMetrics
import MessageSocketsTesting
import MetricsTestKit
import Synchronization
import Testing

/// What loops count, as a back end sees it.
@Suite(.serialized, .timeLimit(.minutes(1))) struct LoopMetricsTests {
  /// The dimension that a test looks for is that of the first loop.
  private func dimensions(_ loop: IOLoop, _ index: Int = 0) -> [(String, String)] {
    [("loop", "\(index)"), ("driver", "\(loop.driver.kind)")]
  }

  @Test func whatALoopCountsIsReported() async throws {
    let back = TestMetrics()
    try await withMetrics(back) { loop, _ in
      let (left, right) = try UnixSeqpacket.makePair(on: loop)
      for _ in 0..<100 {
        try await left.sendMessage([1, 2, 3])
        _ = try await right.receiveMessage()
      }
      let expected: [(String, Int64)] = [
        ("messages_sent", 100), ("bytes_sent", 300), ("messages_received", 100),
        ("bytes_received", 300),
      ]
      for (name, value) in expected {
        while back.total(name) < value { await Task.yield() }
      }
      // Further reports add nothing.
      let reports = back.reports
      while back.reports < reports + 3 { await Task.yield() }
      for (name, value) in expected { #expect(back.total(name) == value, "\(name)") }
      #expect(back.total("jobs") > 0)
      let sent = try back.expectCounter("message_sockets_messages_sent", dimensions(loop))
      #expect(sent.totalValue == 100)
      for socket in [left, right] { await socket.close() }
    }
  }

  @Test func openSocketsAreAGauge() async throws {
    let back = TestMetrics()
    try await withMetrics(back) { loop, _ in
      let (left, right) = try UnixStream.makePair(on: loop)
      while back.lastGauge("open_sockets") != 2 { await Task.yield() }
      await left.close()
      while back.lastGauge("open_sockets") != 1 { await Task.yield() }
      _ = try await right.release()
      while back.lastGauge("open_sockets") != 0 { await Task.yield() }
    }
  }

  @Test func aTurnThatWasTooLongIsTimed() async throws {
    let back = TestMetrics()
    try await withMetrics(back) { loop, _ in
      await loop.run {
        let end = ContinuousClock.now + .milliseconds(60)
        while ContinuousClock.now < end {}
      }
      while back.timers(label: "message_sockets_long_turn").flatMap(\.values).isEmpty {
        await Task.yield()
      }
      let value = try #require(
        back.timers(label: "message_sockets_long_turn").flatMap(\.values).max())
      // The clock of turns counts in steps of up to 10 ms.
      #expect(value >= 40_000_000)
      #expect(back.total("long_turns") >= 1)
    }
  }

  /// The back end blocks: messages flow, no further report waits, and nothing is lost by the wait.
  @Test func aBackEndThatBlocksHoldsUpReportsOnly() async throws {
    let back = BlockingBack()
    try await withMetrics(back) { loop, metrics in
      while !back.isBlocked { await Task.yield() }
      let (left, right) = try UnixSeqpacket.makePair(on: loop)
      for _ in 0..<1000 {
        try await left.sendMessage([1])
        _ = try await right.receiveMessage()
      }
      while metrics.missedReports < 3 { await Task.yield() }
      #expect(back.metrics.total("messages_sent") == 0)
      back.unblock()
      while back.metrics.total("messages_sent") < 1000 { await Task.yield() }
      #expect(back.metrics.total("messages_sent") == 1000)
      for socket in [left, right] { await socket.close() }
    }
  }

  @Test func cancellingDoesNotWaitForABackEndThatBlocks() async throws {
    let back = BlockingBack()
    try await withMetrics(back) { _, _ in
      while !back.isBlocked { await Task.yield() }
    }
    // `run` has ended, and the loop with it.
    back.unblock()
  }

  /// A loop whose job blocks is not reported; the others are.
  @Test func aLoopThatIsBlockedHoldsUpItsOwnReportOnly() async throws {
    let back = TestMetrics()
    let blocked = try IOLoop()
    let other = try IOLoop()
    let gate = DispatchSemaphore(value: 0)
    let metrics = LoopMetrics([blocked, other], every: .milliseconds(1), factory: back)
    let blocking = Task.detached {
      await blocked.run { BlockingBack.wait(for: gate) }
    }
    let running = Task { try await metrics.run() }
    let (left, right) = try UnixSeqpacket.makePair(on: other)
    try await left.sendMessage([1])
    while back.counterTotal(
      label: "message_sockets_messages_sent", dimensions: dimensions(other, 1)) < 1
    { await Task.yield() }
    while metrics.missedReports < 3 { await Task.yield() }
    // Ends although the loop has not answered.
    running.cancel()
    await #expect(throws: CancellationError.self) { try await running.value }
    gate.signal()
    await blocking.value
    for socket in [left, right] { await socket.close() }
  }

  // MARK: Helpers

  private func withMetrics(
    _ back: any MetricsFactory, _ body: (IOLoop, LoopMetrics) async throws -> Void
  ) async throws {
    try await withDescriptorCheck {
      let loop = try IOLoop()
      let metrics = LoopMetrics([loop], every: .milliseconds(1), factory: back)
      let running = Task { try await metrics.run() }
      do { try await body(loop, metrics) } catch {
        running.cancel()
        throw error
      }
      running.cancel()
      await #expect(throws: CancellationError.self) { try await running.value }
    }
  }
}

extension TestMetrics {
  func total(_ name: String) -> Int64 { counterTotal(label: "message_sockets_\(name)") }

  func lastGauge(_ name: String) -> Double? {
    recorders(label: "message_sockets_\(name)").first?.lastValue
  }

  /// How many reports there were.
  var reports: Int { timers(label: "message_sockets_loop_delay").map(\.values.count).reduce(0, +) }
}

/// A back end that blocks when it makes a metric, until it is told to go on.
final class BlockingBack: MetricsFactory, Sendable {
  let metrics = TestMetrics()
  private let gate = DispatchSemaphore(value: 0)
  private let blocked = Atomic(false)

  var isBlocked: Bool { blocked.load(ordering: .acquiring) }

  func unblock() { gate.signal() }

  /// Blocks the thread, which the compiler permits in a synchronous function.
  static func wait(for gate: DispatchSemaphore) { gate.wait() }

  private func block() {
    if blocked.exchange(true, ordering: .acquiringAndReleasing) { return }
    gate.wait()
  }

  func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
    block()
    return metrics.makeCounter(label: label, dimensions: dimensions)
  }

  func makeRecorder(
    label: String, dimensions: [(String, String)], aggregate: Bool
  ) -> any RecorderHandler {
    metrics.makeRecorder(label: label, dimensions: dimensions, aggregate: aggregate)
  }

  func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
    metrics.makeTimer(label: label, dimensions: dimensions)
  }

  func destroyCounter(_ handler: any CounterHandler) { metrics.destroyCounter(handler) }
  func destroyRecorder(_ handler: any RecorderHandler) { metrics.destroyRecorder(handler) }
  func destroyTimer(_ handler: any TimerHandler) { metrics.destroyTimer(handler) }
}

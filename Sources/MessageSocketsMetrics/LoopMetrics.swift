// SPDX-License-Identifier: Apache-2.0
#if Metrics
  public import CoreMetrics
  internal import Dispatch
  @_exported public import MessageSockets
  internal import Synchronization

  /// Reports what loops count to swift-metrics, at an interval.
  ///
  /// ```swift
  /// let metrics = LoopMetrics(try IOLoopGroup.shared().loops)
  /// try await withThrowingTaskGroup(of: Void.self) { group in
  ///   group.addTask { try await metrics.run() }
  ///   …
  /// }
  /// ```
  /// Nothing is measured between two reports, and messages cost the same with and without: a report
  /// is one visit to each loop, which copies the counters it has anyway.
  ///
  /// The back end is called on a thread of its own, never on a loop nor in Swift's thread pool. One
  /// that blocks holds up only reports: those that come meanwhile are left out, and counted
  /// (``missedReports``), and the next one reports what they would have.
  ///
  /// Its loops live as long as it does.
  public final class LoopMetrics: Sendable {
    private let interval: Duration
    private let sources: [LoopSource]
    private let reporter: Reporter

    /// Loops to report about.
    ///
    /// - Parameters:
    ///   - loops: They are told apart by the dimension `loop`: `0`, `1` …, in this order. The
    ///     dimension `driver` is `io_uring` or `epoll`.
    ///   - interval: The time between two reports. At least 1 ms: less is taken for that.
    ///   - factory: The back end; that of `MetricsSystem` if nil, when the first report is made.
    public init(
      _ loops: [IOLoop], every interval: Duration = .seconds(10),
      factory: (any MetricsFactory)? = nil
    ) {
      self.interval = max(interval, .milliseconds(1))
      let reporter = Reporter(factory)
      self.reporter = reporter
      sources = loops.enumerated().map { LoopSource($1, index: $0, reporter) }
    }

    /// Reports until its task is cancelled, for the first time after one interval. What was counted
    /// after the last report is not reported.
    ///
    /// It waits neither for the back end nor for a loop that is blocked. Run it once at a time.
    ///
    /// - Throws: `CancellationError`.
    public func run() async throws {
      while true {
        try await Task.sleep(for: interval)
        for source in sources { source.report() }
      }
    }

    /// Reports of a loop that were left out, because the back end had not taken the one before, or
    /// the loop had not answered for it.
    public var missedReports: Int { reporter.missed.load(ordering: .relaxed) }
  }

  /// A loop, and whether a report about it is under way.
  private final class LoopSource: Sendable {
    private let loop: IOLoop
    private let index: Int
    private let reporter: Reporter
    private let isBusy = Flag()

    init(_ loop: IOLoop, index: Int, _ reporter: Reporter) {
      self.loop = loop
      self.index = index
      self.reporter = reporter
    }

    func report() {
      guard isBusy.set() else {
        reporter.missed.add(1, ordering: .relaxed)
        return
      }
      // Not awaited: a loop that is blocked must not hold up the reports about others.
      Task.detached { [self] in
        let start = ContinuousClock.now
        let statistics = await loop.statistics
        let sample = Sample(
          loop: index, driver: loop.driver.kind, statistics: statistics,
          delay: ContinuousClock.now - start)
        // A back end that never returns must not keep the loop alive.
        reporter.record(sample) { [isBusy] in isBusy.clear() }
      }
    }
  }

  private final class Flag: Sendable {
    private let isSet = Atomic(false)

    /// Returns false if it was set already.
    func set() -> Bool { !isSet.exchange(true, ordering: .acquiringAndReleasing) }
    func clear() { isSet.store(false, ordering: .releasing) }
  }

  /// What a visit to a loop has found.
  private struct Sample: Sendable {
    let loop: Int
    let driver: IOLoop.Driver.Kind
    let statistics: IOLoop.Statistics
    /// How long the visit waited for its turn.
    let delay: Duration
  }

  /// Calls the back end, on a thread of Dispatch's that does nothing else meanwhile.
  // SAFETY: @unchecked because `instruments` is used on the serial queue only.
  private final class Reporter: @unchecked Sendable {
    let missed = Atomic(0)

    private let queue = DispatchQueue(label: "message-sockets.metrics")
    private let factory: (any MetricsFactory)?
    private var instruments: [Int: Instruments] = [:]

    init(_ factory: (any MetricsFactory)?) { self.factory = factory }

    /// Records a sample when the samples before it have been. `done` follows.
    func record(_ sample: Sample, then done: @escaping @Sendable () -> Void) {
      queue.async { [self] in
        let factory = self.factory ?? MetricsSystem.factory
        let found =
          instruments[sample.loop]
          ?? Instruments(factory, loop: "\(sample.loop)", driver: "\(sample.driver)")
        instruments[sample.loop] = found
        found.record(sample, missed: missed.load(ordering: .relaxed))
        done()
      }
    }
  }

  /// The metrics of one loop.
  private final class Instruments {
    private typealias Count = any KeyPath<IOLoop.Statistics, UInt64> & Sendable

    private static let counts: [(name: String, count: Count)] = [
      ("enters", \.enters), ("submissions", \.submissions), ("completions", \.completions),
      ("jobs", \.jobs), ("hops", \.hops), ("local_enqueues", \.localEnqueues),
      ("long_turns", \.longTurns),
      ("messages_sent", \.messagesSent), ("bytes_sent", \.bytesSent),
      ("messages_received", \.messagesReceived), ("bytes_received", \.bytesReceived),
      ("descriptors_received", \.descriptorsReceived),
      ("descriptors_refused", \.descriptorsRefused), ("descriptors_taken", \.descriptorsTaken),
      ("cancellations", \.cancellations), ("cancelled", \.cancelled),
      ("stopped_part_way", \.stoppedPartWay),
      ("won_against_cancellation", \.wonAgainstCancellation),
      ("stopped_before_submission", \.stoppedBeforeSubmission),
      ("multishot_starts", \.multishotStarts), ("multishot_ends", \.multishotEnds),
      ("multishot_stops", \.multishotStops),
    ]

    private let counters: [(count: Count, counter: Counter)]
    private let openSockets: Gauge
    private let closing: Gauge
    private let missed: Gauge
    private let delay: Timer
    private let longTurn: Timer
    private var last: IOLoop.Statistics?

    init(_ factory: any MetricsFactory, loop: String, driver: String) {
      let dimensions = [("loop", loop), ("driver", driver)]
      func label(_ name: String) -> String { "message_sockets_\(name)" }
      counters = Self.counts.map {
        ($0.count, Counter(label: label($0.name), dimensions: dimensions, factory: factory))
      }
      openSockets = Gauge(label: label("open_sockets"), dimensions: dimensions, factory: factory)
      closing = Gauge(label: label("descriptors_closing"), dimensions: [], factory: factory)
      missed = Gauge(label: label("missed_reports"), dimensions: [], factory: factory)
      delay = Timer(label: label("loop_delay"), dimensions: dimensions, factory: factory)
      longTurn = Timer(label: label("long_turn"), dimensions: dimensions, factory: factory)
    }

    func record(_ sample: Sample, missed: Int) {
      let now = sample.statistics
      for (count, counter) in counters {
        let difference = now[keyPath: count] - (last?[keyPath: count] ?? 0)
        if difference > 0 { counter.increment(by: difference) }
      }
      openSockets.record(now.openSockets)
      closing.record(ProcessCounts.descriptorsClosing)
      self.missed.record(missed)
      delay.recordNanoseconds(sample.delay.nanoseconds)
      let turns = now.longTurns - (last?.longTurns ?? 0)
      if turns > 0 {
        let time = now.longTurnTime - (last?.longTurnTime ?? .zero)
        longTurn.recordNanoseconds((time / Int(turns)).nanoseconds)
      }
      last = now
    }
  }

  extension Duration {
    fileprivate var nanoseconds: Int64 {
      let (seconds, attoseconds) = components
      return seconds * 1_000_000_000 + attoseconds / 1_000_000_000
    }
  }
#endif

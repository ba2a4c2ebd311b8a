// SPDX-License-Identifier: Apache-2.0
public import ArgumentParser

/// The arguments of the baselines, with the baselines' meaning and limits.
public struct Options: ParsableArguments, Sendable {
  @Option(help: "What happens: \(Mode.allCases.map(\.rawValue).joined(separator: ", ")).")
  public var mode = Mode.pingpong

  @Option(
    help: "Socket pairs; in accept mode, connections at a time (default: 1; in idle mode 10000).")
  private var pairs: Int?

  @Option(help: "Descriptors in each message, 0 to 253.")
  public var fds = 1

  @Option(help: "Payload of each message in bytes, 1 to 65536.")
  public var bytes = 64

  @Option(help: "\(Kind.allCases.map(\.rawValue).joined(separator: ", ")).")
  public var kind = Kind.stream

  @Option(
    name: .customLong("threads"),
    help: "Threads over which the pairs are split (default: 1; 2 in twothreads mode).")
  private var requestedThreads: Int?

  @Option(help: "Measured time in seconds.")
  public var seconds = 1.0

  @Option(help: "Seconds before the measurement.")
  public var warmup = 0.2

  public init() {}

  public var pairCount: Int { pairs ?? (mode == .idle ? 10_000 : 1) }

  public var threads: Int { requestedThreads ?? (mode == .twothreads ? 2 : 1) }

  public func validate() throws {
    try check(pairCount, in: 1...100_000, "pairs")
    try check(fds, in: 0...253, "fds")
    try check(bytes, in: 1...65_536, "bytes")
    try check(threads, in: 1...256, "threads")
    guard seconds >= 0.001, seconds <= 3600, warmup >= 0, warmup <= 3600 else {
      throw ValidationError("expected seconds from 0.001, and a warm-up from 0, to 3600")
    }
  }

  private func check(_ value: Int, in range: ClosedRange<Int>, _ name: String) throws {
    guard range.contains(value) else {
      throw ValidationError(
        "--\(name) \(value): expected \(range.lowerBound) to \(range.upperBound)")
    }
  }
}

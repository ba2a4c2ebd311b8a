// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets
import SharedMemory

/// Megabytes per second of payloads that one thread produces and another sums up, in sealed memory
/// and through a socket. Arguments: sizes in bytes; by default 4 KiB to 64 MiB.
@main
struct MemoryBench {
  static let rounds = 5

  static func main() async throws {
    let arguments = CommandLine.arguments.dropFirst().compactMap { Int($0) }
    let sizes =
      arguments.isEmpty
      ? [12, 14, 16, 17, 18, 19, 20, 22, 24, 26].map { 1 << $0 } : Array(arguments)
    let (here, there) = (try IOLoop(), try IOLoop())
    print("\(here.driver.kind), medians of \(rounds) rounds")
    print("            MB/s by the clock                µs of processor time for a MB")
    print("      size   sealed   socket    again          sealed   socket    again")
    for size in sizes {
      var rates: [Way: [Rate]] = [:]
      // In turn, so that other load on the machine affects all of them.
      for _ in 0..<rounds {
        for way in Way.allCases {
          rates[way, default: []].append(try await way.rate(size, here, there))
        }
      }
      let megabytes = row(rates) { $0.megabytesPerSecond }
      let microseconds = row(rates) { $0.microsecondsPerMegabyte }
      print(pad("\(size)", 10) + megabytes + "       " + microseconds)
    }
  }

  /// The median of each way.
  static func row(_ rates: [Way: [Rate]], _ value: (Rate) -> Double) -> String {
    Way.allCases.map { way in
      pad("\(Int(rates[way]!.map(value).sorted()[rounds / 2]))", 9)
    }.joined()
  }

  static func pad(_ text: String, _ width: Int) -> String {
    String(repeating: " ", count: max(0, width - text.count)) + text
  }
}

struct Rate {
  let megabytesPerSecond: Double
  /// The processor time of both threads, in user and kernel mode. Other programs affect it little.
  let microsecondsPerMegabyte: Double

  /// Microseconds of processor time that this process has used.
  static var processorTime: Double {
    var usage = rusage()
    getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
    return [usage.ru_utime, usage.ru_stime].reduce(0) {
      $0 + Double($1.tv_sec) * 1e6 + Double($1.tv_usec)
    }
  }
}

enum Way: CaseIterable {
  /// A new memory file for each payload: made, filled, sealed, sent, checked, mapped, summed up.
  case sealed
  /// Filled, sent as the bytes of a stream, received into one buffer, summed up.
  case socket
  /// One memory file, sent repeatedly: the receiver checks, maps and sums it up each time.
  case again

  func rate(_ size: Int, _ here: IOLoop, _ there: IOLoop) async throws -> Rate {
    let count = max(4, min(20_000, (256 << 20) / size))
    let started = ContinuousClock.now
    let usedBefore = Rate.processorTime
    switch self {
    case .sealed: try await sealed(size, count, here, there)
    case .socket: try await socket(size, count, here, there)
    case .again: try await again(size, count, here, there)
    }
    let megabytes = Double(size * count) / 1e6
    return Rate(
      megabytesPerSecond: megabytes / ((ContinuousClock.now - started) / .seconds(1)),
      microsecondsPerMegabyte: (Rate.processorTime - usedBefore) / megabytes)
  }

  private func sealed(_ size: Int, _ count: Int, _ here: IOLoop, _ there: IOLoop) async throws {
    let (left, right) = try await Self.ends(here, there)
    async let sending: Void = Task(executorPreference: here.taskExecutor) {
      for number in 0..<count {
        var memory = try MutableMemory(byteCount: size)
        var bytes = memory.bytes
        bytes.withUnsafeMutableBytes { fill($0, number) }
        let sealed = try memory.sealed()
        try await left.sendMessage([1], descriptor: sealed.descriptor)
      }
    }.value
    try await Self.receiveMemory(count, right, there)
    try await sending
    await left.close()
    await right.close()
  }

  private func again(_ size: Int, _ count: Int, _ here: IOLoop, _ there: IOLoop) async throws {
    let (left, right) = try await Self.ends(here, there)
    var memory = try MutableMemory(byteCount: size)
    var bytes = memory.bytes
    bytes.withUnsafeMutableBytes { fill($0, 0) }
    let sealed = try memory.sealed()
    async let receiving: Void = Self.receiveMemory(count, right, there, isFilled: false)
    for _ in 0..<count { try await left.sendMessage([1], descriptor: sealed.descriptor) }
    try await receiving
    await left.close()
    await right.close()
  }

  private static func receiveMemory(
    _ count: Int, _ socket: UnixSeqpacket, _ loop: IOLoop, isFilled: Bool = true
  ) async throws {
    try await Task(executorPreference: loop.taskExecutor) {
      for number in 0..<count {
        guard let file = try await socket.receiveMessage()?.takeDescriptor() else {
          fatalError("the end")
        }
        let memory = try SealedMemory(adopting: file, atMost: 1 << 30)
        let found = memory.bytes.withUnsafeBytes { sum($0) }
        precondition(found == expected(memory.byteCount, isFilled ? number : 0))
      }
    }.value
  }

  private func socket(_ size: Int, _ count: Int, _ here: IOLoop, _ there: IOLoop) async throws {
    let (a, b) = try UnixStream.makePair(on: here)
    let left = a
    let right = try UnixStream(adopting: try await b.release(), on: there)
    async let sending: Void = Task(executorPreference: here.taskExecutor) {
      var payload = [UInt8](repeating: 0, count: size)
      for number in 0..<count {
        payload.withUnsafeMutableBytes { fill($0, number) }
        try await left.sendMessage(payload)
      }
    }.value
    try await Task(executorPreference: there.taskExecutor) {
      let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 64)
      defer { memory.deallocate() }
      for number in 0..<count {
        var payload = OutputRawSpan(buffer: memory, initializedCount: 0)
        while payload.byteCount < size {
          guard try await right.receiveMessage(into: &payload) != nil else { fatalError("the end") }
        }
        let filled = payload.finalize(for: memory)
        precondition(sum(UnsafeRawBufferPointer(memory)) == expected(filled, number))
      }
    }.value
    try await sending
    await left.close()
    await right.close()
  }

  private static func ends(_ here: IOLoop, _ there: IOLoop) async throws -> (
    UnixSeqpacket, UnixSeqpacket
  ) {
    let (left, right) = try UnixSeqpacket.makePair(on: here)
    return (left, try UnixSeqpacket(adopting: try await right.release(), on: there))
  }
}

private func fill(_ memory: UnsafeMutableRawBufferPointer, _ number: Int) {
  memset(memory.baseAddress!, Int32(number % 251), memory.count)
}

private func sum(_ memory: UnsafeRawBufferPointer) -> UInt64 {
  var sum: UInt64 = 0
  for word in memory.assumingMemoryBound(to: UInt64.self) { sum &+= word }
  return sum
}

private func expected(_ byteCount: Int, _ number: Int) -> UInt64 {
  UInt64(number % 251) &* 0x0101_0101_0101_0101 &* UInt64(byteCount / 8)
}

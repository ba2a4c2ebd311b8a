// SPDX-License-Identifier: Apache-2.0

/// What a worker has found in a file.
struct FileCount: Equatable, Sendable {
  var lines: UInt64 = 0
  var bytes: UInt64 = 0
  /// FNV-1a, 64 bits.
  var checksum: UInt64 = 0xCBF2_9CE4_8422_2325

  mutating func add(_ more: ArraySlice<UInt8>) {
    for byte in more {
      if byte == UInt8(ascii: "\n") { lines += 1 }
      checksum = (checksum ^ UInt64(byte)) &* 0x100_0000_01B3
    }
    bytes += UInt64(more.count)
  }
}

/// What a worker says about itself before its first file.
struct WorkerFacts: Equatable, Sendable {
  var user: UInt32
  var hasNoNewPrivileges: Bool
  /// How many descriptors it was started with.
  var descriptors: Int
  /// Whether it could open a file that it should not be able to open.
  var opensTheFile: Bool
}

/// What a worker says, as words in ASCII. A request is a number and a descriptor: `count 7`.
enum Answer: Equatable, Sendable {
  case ready(WorkerFacts)
  case begun(UInt64)
  case counted(UInt64, FileCount)

  var encoded: [UInt8] {
    let text =
      switch self {
      case .ready(let facts):
        "ready \(facts.user) \(facts.hasNoNewPrivileges ? 1 : 0) \(facts.descriptors) "
          + "\(facts.opensTheFile ? 1 : 0)"
      case .begun(let number): "begun \(number)"
      case .counted(let number, let count):
        "counted \(number) \(count.lines) \(count.bytes) \(count.checksum)"
      }
    return Array(text.utf8)
  }

  /// The parent does not trust its worker, which reads what others have written.
  ///
  /// - Throws: ``WorkerFailure`` for anything that a worker does not say.
  init(decoding bytes: [UInt8]) throws(WorkerFailure) {
    guard bytes.count <= 128 else { throw .malformedAnswer }
    let words = String(decoding: bytes, as: UTF8.self).split(
      separator: " ", omittingEmptySubsequences: false)
    let numbers = words.dropFirst().compactMap { UInt64($0) }
    switch (words.first, numbers.count, words.count) {
    case ("ready", 4, 5):
      guard let user = UInt32(exactly: numbers[0]), let descriptors = Int(exactly: numbers[2]),
        numbers[1] <= 1, numbers[3] <= 1
      else { throw .malformedAnswer }
      self = .ready(
        WorkerFacts(
          user: user, hasNoNewPrivileges: numbers[1] == 1, descriptors: descriptors,
          opensTheFile: numbers[3] == 1))
    case ("begun", 1, 2): self = .begun(numbers[0])
    case ("counted", 4, 5):
      self = .counted(
        numbers[0], FileCount(lines: numbers[1], bytes: numbers[2], checksum: numbers[3]))
    default: throw .malformedAnswer
    }
  }
}

/// Why a worker did not do its work.
enum WorkerFailure: Error, Equatable {
  /// It has ended, or has closed its control socket.
  case ended
  /// Its answer is none.
  case malformedAnswer
  /// Its answer belongs to something else.
  case wrongAnswer
}

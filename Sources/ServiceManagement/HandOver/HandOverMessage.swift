// SPDX-License-Identifier: Apache-2.0
internal import MessageSockets
internal import SystemPackage

/// A message of the hand-over protocol, version 1; see Docs/Wire.md. Each is one message of a
/// seqpacket socket; integers are little-endian.
enum HandOverMessage: Equatable {
  /// Successor: begins. States which version of the application's state it understands.
  case hello(protocolVersion: UInt16, stateVersion: UInt32)
  /// Predecessor: announces what will come.
  case offer(protocolVersion: UInt16, descriptors: UInt32, stateLength: UInt64)
  /// Predecessor: some of the descriptors, starting at this position. They come with this message.
  case batch(first: UInt32, [HandOverEntry])
  /// Successor: this many descriptors have arrived.
  case received(UInt32)
  /// Predecessor: the next bytes of the state.
  case state([UInt8])
  /// Successor: it can begin to serve.
  case ready
  /// Predecessor: tells the successor to serve.
  case go
  /// Successor: it accepts connections.
  case serving
  /// Predecessor: its last connection has ended, and the process will end.
  case drained
  /// Either side: gives up the hand-over, with a reason.
  case refusal(HandOverRefusal, String)

  static let protocolVersion: UInt16 = 1
  /// "MSHO"
  private static let magic: [UInt8] = [0x4D, 0x53, 0x48, 0x4F]
  /// The maximum size of a message. It must fit into a receive, and a socket must send it in one
  /// piece.
  static let maximumLength = 32_768
  static let maximumTextLength = 512

  var encoded: [UInt8] {
    var bytes: [UInt8]
    switch self {
    case .hello(let protocolVersion, let stateVersion):
      bytes = [1] + Self.magic
      bytes.append(integer: protocolVersion)
      bytes.append(integer: stateVersion)
    case .offer(let protocolVersion, let descriptors, let stateLength):
      bytes = [2]
      bytes.append(integer: protocolVersion)
      bytes.append(integer: descriptors)
      bytes.append(integer: stateLength)
    case .batch(let first, let entries):
      bytes = [3]
      bytes.append(integer: first)
      bytes.append(integer: UInt16(entries.count))
      for entry in entries { entry.append(to: &bytes) }
    case .received(let count):
      bytes = [4]
      bytes.append(integer: count)
    case .state(let piece): bytes = [5] + piece
    case .ready: bytes = [6]
    case .go: bytes = [7]
    case .serving: bytes = [8]
    case .drained: bytes = [9]
    case .refusal(let reason, let text):
      bytes = [15, reason.rawValue] + text.utf8.prefix(Self.maximumTextLength)
    }
    return bytes
  }

  /// - Throws: ``ServiceError``: `malformedMessage`.
  init(decoding bytes: [UInt8]) throws(ServiceError) {
    guard bytes.count <= Self.maximumLength else {
      throw Self.malformed("it has \(bytes.count) bytes")
    }
    var reader = ByteReader(bytes)
    switch try reader.integer(UInt8.self) {
    case 1:
      guard try reader.bytes(4) == Self.magic else {
        throw Self.malformed("it does not begin with the mark of a hand-over")
      }
      self = .hello(protocolVersion: try reader.integer(), stateVersion: try reader.integer())
    case 2:
      self = .offer(
        protocolVersion: try reader.integer(), descriptors: try reader.integer(),
        stateLength: try reader.integer())
    case 3:
      let first: UInt32 = try reader.integer()
      let count: UInt16 = try reader.integer()
      guard (1...UInt16(ControlMessages.maximumDescriptors)).contains(count) else {
        throw Self.malformed("a batch of \(count) descriptors")
      }
      var entries: [HandOverEntry] = []
      for _ in 0..<count { entries.append(try HandOverEntry(&reader)) }
      self = .batch(first: first, entries)
    case 4: self = .received(try reader.integer())
    case 5: self = .state(reader.takeRest())
    case 6: self = .ready
    case 7: self = .go
    case 8: self = .serving
    case 9: self = .drained
    case 15:
      let reason = HandOverRefusal(rawValue: try reader.integer()) ?? .other
      self = .refusal(
        reason, String(decoding: reader.takeRest().prefix(Self.maximumTextLength), as: UTF8.self))
    case let type: throw Self.malformed("its type is \(type)")
    }
    guard reader.isAtEnd else { throw Self.malformed("there are bytes behind its end") }
  }

  static func malformed(_ what: String) -> ServiceError {
    ServiceError(.malformedMessage, "a message of the hand-over: \(what)")
  }

  /// The message's name, for errors about a message that is missing.
  var name: String {
    switch self {
    case .hello: "hello"
    case .offer: "offer"
    case .batch: "batch"
    case .received: "received"
    case .state: "state"
    case .ready: "ready"
    case .go: "go"
    case .serving: "serving"
    case .drained: "drained"
    case .refusal: "refusal"
    }
  }
}

/// Why a hand-over is given up.
enum HandOverRefusal: UInt8, Sendable {
  case other = 0
  /// Another successor is being served.
  case busy = 1
  /// The version of the protocol or of the state does not match.
  case version = 2
  /// The other side has sent an invalid message.
  case malformed = 3
  /// The other side took too long.
  case timedOut = 4
  /// The predecessor ends without a successor; the process that has its sockets may serve.
  case ending = 5
}

/// One descriptor of a batch.
struct HandOverEntry: Equatable {
  /// Empty for the control listener, which comes first.
  var name: String
  /// The device and inode of the file that the socket is bound to, if the file goes to the
  /// successor.
  var file: [UInt64]?

  var encodedLength: Int { 2 + name.utf8.count + (file == nil ? 0 : 16) }

  fileprivate func append(to bytes: inout [UInt8]) {
    bytes += [file == nil ? 0 : 1, UInt8(name.utf8.count)]
    bytes += name.utf8
    for number in file ?? [] { bytes.append(integer: number) }
  }

  init(name: String, file: [UInt64]? = nil) {
    self.name = name
    self.file = file
  }

  fileprivate init(_ reader: inout ByteReader) throws(ServiceError) {
    let flags: UInt8 = try reader.integer()
    guard flags <= 1 else { throw HandOverMessage.malformed("an entry with the flags \(flags)") }
    let length: UInt8 = try reader.integer()
    name = String(decoding: try reader.bytes(Int(length)), as: UTF8.self)
    if !name.isEmpty { try NamedDescriptors.check(name) }
    file = flags == 1 ? [try reader.integer(), try reader.integer()] : nil
  }
}

/// Reads integers and bytes, never beyond the end.
private struct ByteReader {
  private var rest: ArraySlice<UInt8>

  init(_ bytes: [UInt8]) { rest = bytes[...] }

  var isAtEnd: Bool { rest.isEmpty }

  mutating func bytes(_ count: Int) throws(ServiceError) -> [UInt8] {
    guard rest.count >= count else { throw HandOverMessage.malformed("it is too short") }
    defer { rest = rest.dropFirst(count) }
    return Array(rest.prefix(count))
  }

  mutating func integer<Number: FixedWidthInteger>(_: Number.Type = Number.self)
    throws(ServiceError) -> Number
  {
    try bytes(Number.bitWidth / 8).reversed().reduce(0) { $0 << 8 | Number($1) }
  }

  mutating func takeRest() -> [UInt8] {
    defer { rest = [] }
    return Array(rest)
  }
}

extension [UInt8] {
  fileprivate mutating func append<Number: FixedWidthInteger>(integer: Number) {
    for shift in stride(from: 0, to: Number.bitWidth, by: 8) {
      append(UInt8(truncatingIfNeeded: integer >> shift))
    }
  }
}

// SPDX-License-Identifier: Apache-2.0
/// A message of the D-Bus protocol, as far as the tests need it: little-endian, with a body
/// described by its signature.
struct BusMessage {
  enum Kind: UInt8 { case call = 1, reply, error, signal }

  /// Header fields, by their codes in the specification.
  private enum Field {
    static let path: UInt8 = 1, interface: UInt8 = 2, member: UInt8 = 3, replySerial: UInt8 = 5
    static let destination: UInt8 = 6, sender: UInt8 = 7, signature: UInt8 = 8,
      descriptors: UInt8 = 9
  }

  var kind: Kind
  var serial: UInt32 = 0
  var replySerial: UInt32?
  var path: String?
  var interface: String?
  var member: String?
  var destination: String?
  var sender: String?
  var signature = ""
  var descriptorCount = 0
  var body: [UInt8] = []

  init(_ kind: Kind) { self.kind = kind }

  static func call(_ member: String, of interface: String, at path: String) -> BusMessage {
    var message = BusMessage(.call)
    (message.path, message.interface, message.member, message.destination) = (
      path, interface, member, interface
    )
    return message
  }

  /// The answer to this call.
  func reply(_ signature: String, _ body: [UInt8], descriptorCount: Int = 0) -> BusMessage {
    var message = BusMessage(.reply)
    (message.replySerial, message.destination) = (serial, sender)
    (message.signature, message.body, message.descriptorCount) = (signature, body, descriptorCount)
    return message
  }

  var encoded: [UInt8] {
    var fields = BusWriter()
    func add(_ code: UInt8, _ signature: String, _ value: (inout BusWriter) -> Void) {
      fields.align(8)
      fields.bytes.append(code)
      fields.append(signature: signature)
      value(&fields)
    }
    if let path { add(Field.path, "o") { $0.append(path) } }
    for (code, text) in [
      (Field.interface, interface), (Field.member, member), (Field.destination, destination),
    ] {
      if let text { add(code, "s") { $0.append(text) } }
    }
    if let replySerial { add(Field.replySerial, "u") { $0.append(replySerial) } }
    if !signature.isEmpty { add(Field.signature, "g") { $0.append(signature: signature) } }
    if descriptorCount > 0 { add(Field.descriptors, "u") { $0.append(UInt32(descriptorCount)) } }

    var writer = BusWriter()
    writer.bytes = [UInt8(ascii: "l"), kind.rawValue, 0, 1]
    for number in [UInt32(body.count), serial, UInt32(fields.bytes.count)] { writer.append(number) }
    writer.bytes += fields.bytes
    writer.align(8)
    return writer.bytes + body
  }

  /// The length of the message that starts with these bytes, of which there must be at least 16.
  static func length(of start: [UInt8]) throws -> Int {
    var reader = BusReader(start)
    guard try reader.byte() == UInt8(ascii: "l") else { throw BusError() }
    reader.position = 4
    let body = try Int(reader.number())
    reader.position = 12
    let fields = try Int(reader.number())
    return 16 + (fields + 7) / 8 * 8 + body
  }

  init(decoding bytes: [UInt8]) throws {
    var reader = BusReader(bytes)
    reader.position = 1
    guard let kind = try Kind(rawValue: reader.byte()) else { throw BusError() }
    self.init(kind)
    reader.position = 8
    serial = try reader.number()
    let end = try 16 + Int(reader.number())
    while reader.position < end {
      reader.align(8)
      let code = try reader.byte()
      switch try reader.signature() {
      case "u":
        let value = try reader.number()
        if code == Field.replySerial { replySerial = value }
        if code == Field.descriptors { descriptorCount = Int(value) }
      case "g": signature = try reader.signature()
      default:
        let value = try reader.string()
        switch code {
        case Field.path: path = value
        case Field.interface: interface = value
        case Field.member: member = value
        case Field.destination: destination = value
        case Field.sender: sender = value
        default: break
        }
      }
    }
    reader.align(8)
    body = Array(bytes[reader.position...])
  }
}

struct BusError: Error {}

/// Marshals values; alignment is relative to the start of its bytes.
struct BusWriter {
  var bytes: [UInt8] = []

  mutating func align(_ size: Int) { while bytes.count % size != 0 { bytes.append(0) } }

  mutating func append(_ number: UInt32) {
    align(4)
    withUnsafeBytes(of: number.littleEndian) { bytes += $0 }
  }

  mutating func append(_ text: String) {
    append(UInt32(text.utf8.count))
    bytes += Array(text.utf8) + [0]
  }

  mutating func append(signature: String) {
    bytes += [UInt8(signature.utf8.count)] + Array(signature.utf8) + [0]
  }

  /// Appends an array of values with an alignment of 4.
  mutating func appendArray(_ values: (inout BusWriter) -> Void) {
    var content = BusWriter()
    values(&content)
    append(UInt32(content.bytes.count))
    bytes += content.bytes
  }
}

struct BusReader {
  private let bytes: [UInt8]
  var position = 0

  init(_ bytes: [UInt8]) { self.bytes = bytes }

  mutating func align(_ size: Int) { position = (position + size - 1) / size * size }

  private mutating func take(_ count: Int) throws -> ArraySlice<UInt8> {
    guard count <= bytes.count - position else { throw BusError() }
    defer { position += count }
    return bytes[position..<position + count]
  }

  mutating func byte() throws -> UInt8 { try take(1).first! }

  mutating func number() throws -> UInt32 {
    align(4)
    return try take(4).reversed().reduce(0) { $0 << 8 | UInt32($1) }
  }

  mutating func string() throws -> String { try text(count: Int(number())) }
  mutating func signature() throws -> String { try text(count: Int(byte())) }

  private mutating func text(count: Int) throws -> String {
    let text = try String(decoding: take(count), as: UTF8.self)
    _ = try byte()
    return text
  }
}

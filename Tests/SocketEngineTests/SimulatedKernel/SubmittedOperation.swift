// SPDX-License-Identifier: Apache-2.0
import CMessageSockets
import Glibc

@testable import SocketEngine

/// A request as a kernel holds it: header and vectors are copied when it is submitted, everything
/// else is read again at each attempt.
final class SubmittedOperation {
  let operation: Operation
  let id: OperationID
  let number: Int32
  let request: OperationRequest
  private let header: cms_msghdr
  private let vectors: [cms_iovec]
  private let payloadThen: [UInt8]
  private let controlThen: [UInt8]
  /// The memory that the kernel may write until the final completion.
  private let written: [Range<UInt>]
  private let read: [Range<UInt>]
  /// The byte with which receive memory is filled.
  private static let pattern: UInt8 = 0xEE

  init(_ operation: Operation) {
    self.operation = operation
    id = operation.id
    number = operation.descriptor
    request = operation.request
    let header = operation.header.pointee
    let isMessage: Bool
    var receives = false
    switch request {
    case .send: isMessage = true
    case .receive:
      isMessage = true
      receives = true
    default: isMessage = false
    }
    self.header = isMessage ? header : cms_msghdr()
    vectors = isMessage ? (0..<header.vector_count).map { header.vectors![$0] } : []
    let control = UnsafeMutableRawBufferPointer(
      start: isMessage ? header.control : nil, count: isMessage ? header.control_length : 0)
    let payload = vectors.map { UnsafeMutableRawBufferPointer(start: $0.base, count: $0.length) }
    let ranges = (payload + [control]).compactMap(Self.range)
    if receives {
      for memory in payload + [control] {
        memory.initializeMemory(as: UInt8.self, repeating: Self.pattern)
      }
    }
    written = receives ? ranges : []
    read = receives ? [] : ranges
    payloadThen = payload.flatMap { Array($0) }
    controlThen = Array(control)
  }

  var isMultishot: Bool { if case .receiveAhead = request { true } else { false } }
  var direction: Direction { Direction(request) }
  var flags: Int32 {
    switch request {
    case .send(let flags, _), .receive(let flags), .receiveWhenReadable(let flags),
      .pauseReceiving(let flags):
      flags
    default: 0
    }
  }

  // MARK: Memory

  /// The payload of a send, or the receive memory.
  var payload: [UInt8] {
    vectors.flatMap { Array(UnsafeMutableRawBufferPointer(start: $0.base, count: $0.length)) }
  }
  var payloadRoom: Int { vectors.reduce(0) { $0 + $1.length } }
  var controlRoom: Int { header.control_length }
  var nameRoom: Int { header.name == nil ? 0 : Int(header.name_length) }
  var control: [UInt8] {
    Array(UnsafeMutableRawBufferPointer(start: header.control, count: header.control_length))
  }

  /// Whether all memory is unchanged since the request was submitted.
  var isStable: Bool { payload == payloadThen && control == controlThen }

  /// Whether one of the two operations would write memory that the other uses.
  func collides(with other: SubmittedOperation) -> Bool {
    written.contains { range in (other.written + other.read).contains { $0.overlaps(range) } }
      || other.written.contains { range in read.contains { $0.overlaps(range) } }
  }

  private static func range(_ memory: UnsafeMutableRawBufferPointer) -> Range<UInt>? {
    guard let base = memory.baseAddress, memory.count > 0 else { return nil }
    return UInt(bitPattern: base)..<UInt(bitPattern: base) + UInt(memory.count)
  }

  /// Writes a received message as recvmsg(2) does.
  ///
  /// - Parameter nameLength: The length of the sender's name before it was truncated.
  func fill(
    _ bytes: [UInt8], _ control: [UInt8], flags: Int32, name: [UInt8] = [], nameLength: Int = 0
  ) {
    var rest = bytes[...]
    for vector in vectors {
      let memory = UnsafeMutableRawBufferPointer(start: vector.base, count: vector.length)
      memory.copyBytes(from: rest.prefix(vector.length))
      rest = rest.dropFirst(vector.length)
    }
    UnsafeMutableRawBufferPointer(start: header.control, count: header.control_length).copyBytes(
      from: control)
    operation.header.pointee.control_length = control.count
    operation.header.pointee.flags = flags
    UnsafeMutableRawBufferPointer(start: header.name, count: nameRoom).copyBytes(
      from: name.prefix(nameRoom))
    operation.header.pointee.name_length = UInt32(nameLength)
  }
}

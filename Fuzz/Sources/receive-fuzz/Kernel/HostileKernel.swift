// SPDX-License-Identifier: Apache-2.0
import CMessageSockets
import Glibc
import SystemPackage

@testable import SocketEngine

/// A driver on a kernel that completes receives with arbitrary results from libFuzzer, within the
/// limits of a real kernel: it only writes to the memory that it was given.
///
/// `@unchecked Sendable`: all of it runs on the loop's thread.
final class HostileKernel: Driver, @unchecked Sendable {
  private let input: Input
  private let expected: Expectations
  private let buffers: SimulatedBuffers?
  var receiveBuffers: ReceiveBuffers? { buffers }
  private(set) var counters = DriverCounters()

  private var submitted: [Operation] = []
  private var cancelled: [OperationID] = []
  private var inFlight: [SubmittedOperation] = []
  private var completions: [cms_completion] = []
  private var turns = 0
  private var fill: UInt8 = 0

  init(_ input: Input, _ expected: Expectations, buffers: SimulatedBuffers?) {
    self.input = input
    self.expected = expected
    self.buffers = buffers
  }

  func start(_ operation: Operation) { submitted.append(operation) }

  func cancel(_ operation: Operation) { cancelled.append(operation.id) }

  func turn(_ wait: Wait) -> Errno? {
    turns += 1
    check(turns < 1_000_000, "the loop turns for ever")
    inFlight += submitted.map { SubmittedOperation($0) }
    submitted = []
    cancelSome()
    for operation in inFlight where !input.oneIn(4) { act(on: operation) }
    while wait == .indefinitely, completions.isEmpty {
      check(!inFlight.isEmpty, "the loop waits for ever")
      for operation in inFlight { act(on: operation) }
    }
    return nil
  }

  func reap(into target: UnsafeMutableBufferPointer<cms_completion>) -> Int {
    let count = min(target.count, completions.count)
    for index in 0..<count { target[index] = completions[index] }
    completions.removeFirst(count)
    return count
  }

  func close() {
    check(
      inFlight.isEmpty && submitted.isEmpty && completions.isEmpty,
      "the driver was closed with operations under way")
    check(buffers?.missing ?? 0 == 0, "\(buffers?.missing ?? 0) buffers were not given back")
    check(buffers?.violations.isEmpty ?? true, "\(buffers?.violations ?? [])")
    buffers?.close()
  }

  // MARK: Completing

  /// Cancels operations. A cancelled operation may bring a message, or end later.
  private func cancelSome() {
    let asked = cancelled
    cancelled = []
    for id in asked {
      guard let operation = inFlight.first(where: { $0.id == id }) else { continue }
      switch input.number(0...3) {
      case 1: cancelled.append(id)
      case 2: act(on: operation)
      default: break
      }
      guard !cancelled.contains(id), inFlight.contains(where: { $0 === operation }) else {
        continue
      }
      complete(operation, -(operation.isMultishot || input.oneIn(2) ? ECANCELED : EINTR))
    }
  }

  private func act(on operation: SubmittedOperation) {
    switch (operation.request, input.number(0...7)) {
    // A pause can only end.
    case (.pauseReceiving, _): complete(operation, -ETIME)
    case (_, 1): fail(operation)
    case (.receiveWhenReadable, _): complete(operation, 1)
    case (.receiveAhead, 0): deliverAhead(to: operation, isEmpty: true)
    case (.receiveAhead, _): deliverAhead(to: operation, isEmpty: false)
    case (.receive, 0): deliver(to: operation, isEmpty: true)
    case (.receive, _): deliver(to: operation, isEmpty: false)
    default: fatalError("\(operation.request) is not a receive")
    }
  }

  private func fail(_ operation: SubmittedOperation) {
    var errno = Int32(input.number(1...200))
    // ECANCELED needs a cancellation.
    if errno == ECANCELED { errno = ENOBUFS }
    let isSilent =
      errno == EINTR || operation.isMultishot && errno == ENOBUFS
      // The error queue is empty, so a waiting receive tries again later.
      || operation.flags & (cms_msg_dontwait | cms_msg_errqueue) != 0 && errno == EAGAIN
    if !isSilent { expected.add(Delivery(errno: Errno(rawValue: errno)), to: operation) }
    complete(operation, -errno)
  }

  private func deliver(to operation: SubmittedOperation, isEmpty: Bool) {
    check(operation.isStable, "memory of a receive changed before its completion")
    check(operation.flags & cms_msg_cmsg_cloexec != 0, "a receive does not ask for close-on-exec")
    let control = HostileControl.bytes(input, room: operation.controlRoom)
    var message = makeMessage(control, payloadRoom: isEmpty ? 0 : operation.payloadRoom)
    if operation.flags & cms_msg_trunc != 0, message.byteCount == operation.payloadRoom,
      input.oneIn(2)
    {
      message.byteCount += input.number(0...100_000)
    }
    let nameLength = operation.nameRoom == 0 ? 0 : input.number(0...200)
    message.name = input.take(min(nameLength, operation.nameRoom))
    operation.fill(
      message.payload, message.control.bytes, flags: message.flags, name: message.name,
      nameLength: nameLength)
    expected.add(message, to: operation)
    complete(operation, Int32(message.byteCount))
  }

  private func deliverAhead(to operation: SubmittedOperation, isEmpty: Bool) {
    guard let buffers, let id = buffers.take() else { return complete(operation, -ENOBUFS) }
    let buffer = buffers.bytes(of: id)
    let nameRoom = operation.operation.receivedNameSize
    let controlStart = ReceiveBuffers.headerSize + nameRoom
    let start = controlStart + buffers.controlSize
    var message = makeMessage(
      HostileControl.bytes(input, room: buffers.controlSize),
      payloadRoom: isEmpty ? 0 : buffer.count - start)
    let nameLength = nameRoom == 0 ? 0 : input.number(0...200)
    let header = cms_received_header(
      name_length: UInt32(nameLength), control_length: UInt32(message.control.bytes.count),
      payload_length: input.oneIn(4) ? .max : UInt32(message.payload.count),
      flags: UInt32(bitPattern: message.flags | cms_msg_cmsg_cloexec)
    )
    buffer.storeBytes(of: header, as: cms_received_header.self)
    message.fullLength = max(message.payload.count, Int(header.payload_length))
    let name = input.take(min(nameLength, nameRoom))
    // There is always room for a name, but only some sockets use it.
    if operation.operation.withSocket({ $0.namesSenders }) == true { message.name = name }
    UnsafeMutableRawBufferPointer(rebasing: buffer[ReceiveBuffers.headerSize..<controlStart])
      .copyBytes(from: name)
    UnsafeMutableRawBufferPointer(rebasing: buffer[controlStart..<start]).copyBytes(
      from: message.control.bytes)
    UnsafeMutableRawBufferPointer(rebasing: buffer[start...]).copyBytes(from: message.payload)
    expected.add(message, to: operation)
    // An empty message ends the receive, as the end of the stream does. Other causes may do so too.
    let more: UInt32 = isEmpty || input.oneIn(4) ? 0 : cms_completion_more
    complete(
      operation, Int32(start + message.payload.count),
      flags: UInt32(id) << 16 | cms_completion_buffer | more)
  }

  private func makeMessage(_ control: [UInt8], payloadRoom: Int) -> Delivery {
    fill &+= 1
    let count = input.oneIn(4) ? payloadRoom : min(payloadRoom, input.number(0...80))
    let payload = (0..<count).map { UInt8(truncatingIfNeeded: $0) &* 7 &+ fill }
    let flags = input.oneIn(2) ? Int32(input.byte()) | Int32(input.byte()) << 8 : 0
    return Delivery(
      payload: payload, byteCount: count, flags: flags, control: InstalledControl(control))
  }

  private func complete(_ operation: SubmittedOperation, _ result: Int32, flags: UInt32 = 0) {
    if flags & cms_completion_more == 0 { inFlight.removeAll { $0 === operation } }
    completions.append(
      cms_completion(user_data: operation.id.userData, result: result, flags: flags))
  }
}

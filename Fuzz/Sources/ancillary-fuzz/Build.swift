// SPDX-License-Identifier: Apache-2.0
import Ancillary
import SystemPackage

/// Copies the messages of the bytes into memory that is too small for some of them: with the
/// builder, as ancillary data, and as the contents of a receive. All three fit or fail alike, and a
/// failure writes nothing. The memory has exactly the stated size, so that the sanitizer detects a
/// byte beyond.
func build(_ bytes: RawSpan) {
  let capacity = bytes.byteCount / 2
  let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: capacity, alignment: 1)
  let other = UnsafeMutableRawBufferPointer.allocate(byteCount: capacity, alignment: 1)
  defer {
    unsafe memory.deallocate()
    unsafe other.deallocate()
  }
  unsafe other.initializeMemory(as: UInt8.self, repeating: 0xA5)
  var expected = ControlMessageBuffer()
  var builder = ControlMessageBuilder(unsafe OutputRawSpan(buffer: memory, initializedCount: 0))
  var data = AncillaryData(unsafe MutableRawSpan(_unsafeBytes: other))
  var iterator = ControlMessages(bytes).makeIterator()
  while let message = iterator.next() {
    let space = ControlMessages.space(for: message.data.byteCount)
    let fits = space <= builder.freeCapacity
    if fits { expected.append(message) }
    check(
      succeeds { () throws(AncillaryError) in try builder.append(message) } == fits,
      "the builder fits other messages")
    check(
      succeeds { () throws(AncillaryError) in try data.append(message) } == fits,
      "ancillary data fits other messages")
    check(builder.byteCount == expected.byteCount, "the builder wrote what did not fit")
  }
  let built = builder.finish()
  check(
    unsafe built.bytes.withUnsafeBytes { unsafe Array($0) } == expected.bytes,
    "the builder wrote other bytes")
  let appended = data.controlMessages.bytes
  check(
    unsafe appended.withUnsafeBytes { unsafe Array($0) } == expected.bytes,
    "ancillary data wrote other bytes")

  var kinds = expected.messages.makeIterator()
  for stored in expected {
    guard let message = kinds.next() else { return check(false, "the buffer's own walk is longer") }
    check(
      stored.kind == message.kind && stored.data.byteCount == message.data.byteCount,
      "the buffer's own walk differs")
  }
  check(kinds.next() == nil, "the buffer's own walk is shorter")
}

/// Simulates a receive of these bytes after all descriptors were taken from them: it brings no
/// descriptor, and all bytes.
func receiveAgain(_ bytes: RawSpan) {
  var buffer = AncillaryDataBuffer(capacity: bytes.byteCount)
  var data = buffer.ancillaryData()
  let memory = unsafe data.unsafeBeginReceive()
  unsafe bytes.withUnsafeBytes { unsafe memory.copyMemory(from: $0) }
  unsafe data.unsafeEndReceive(byteCount: bytes.byteCount)
  check(data.descriptors.isEmpty, "a descriptor was taken twice")
  check(data.controlMessages.bytes.byteCount == bytes.byteCount, "bytes of a receive were lost")
  let outgoing = unsafe data.withUnsafeOutgoingBytes { $0.count }
  check(outgoing == 0, "what was received would be sent")
}

/// Writes the bytes as descriptor numbers to memory whose length they choose, and reads them again.
func encodeRights(_ bytes: RawSpan) {
  guard let first = bytes.byteCount > 0 ? bytes.load(UInt8.self, at: 0) : nil else { return }
  let numbers = (0..<bytes.byteCount / 4).map { FileDescriptor(rawValue: bytes.load(at: 4 * $0)) }
  let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 5 * Int(first), alignment: 1)
  defer { unsafe memory.deallocate() }
  let space = numbers.isEmpty ? 0 : ControlMessages.space(forDescriptors: numbers.count)
  let fits = numbers.count <= ControlMessages.maximumDescriptors && space <= memory.count
  guard let used = try? unsafe ControlMessages.encodeRights(numbers.span, into: memory) else {
    return check(!fits, "descriptors were refused that fit")
  }
  check(fits && used == space, "descriptors were written that do not fit")
  let written = ControlMessages(unsafe UnsafeRawBufferPointer(rebasing: memory[..<used]).bytes)
  guard let message = written.first(of: .rights) else {
    return check(numbers.isEmpty, "descriptors were not written")
  }
  check(message.data.byteCount == 4 * numbers.count, "another number of descriptors was written")
  for (index, number) in numbers.enumerated() {
    check(message.data.load(at: 4 * index) == number.rawValue, "another descriptor was written")
  }
}

private func succeeds(_ body: () throws(AncillaryError) -> Void) -> Bool {
  do throws(AncillaryError) { try body() } catch {
    check(
      error.code == .noCapacity && error.actual > error.limit, "an append failed for another reason"
    )
    return false
  }
  return true
}

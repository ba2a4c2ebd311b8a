// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import CMessageSockets
internal import SystemPackage

/// A message of one byte, with room for a descriptor, at a fixed address: what ``RingProbe`` sends
/// and receives.
@safe
final class ProbeMessage {
  private let memory = OperationMemory()
  private let bytes: UnsafeMutableRawBufferPointer
  /// The control bytes; the payload is the byte after them. Room for more than one descriptor and
  /// an unexpected `SCM_INQ`.
  private static let controlCapacity = 128

  init() {
    // SAFETY: freed in deinit; `keepForever` prevents that while the kernel may still write.
    unsafe bytes = .allocate(byteCount: Self.controlCapacity + 1, alignment: 8)
    unsafe bytes.initializeMemory(as: UInt8.self, repeating: 0)
    unsafe memory.setPayload(
      UnsafeMutableRawBufferPointer(rebasing: bytes[Self.controlCapacity...]))
    unsafe memory.setControl(
      UnsafeMutableRawBufferPointer(rebasing: bytes[..<Self.controlCapacity]))
  }

  deinit { unsafe bytes.deallocate() }

  var header: UnsafeMutablePointer<cms_msghdr> { unsafe memory.header }

  /// Names the descriptor in the control bytes. It must stay open until the message is sent.
  func carry(descriptor: Int32) {
    let number = InlineArray<1, FileDescriptor>(repeating: FileDescriptor(rawValue: descriptor))
    // One descriptor always fits.
    let count = unsafe try! ControlMessages.encodeRights(number.span, into: bytes)
    unsafe memory.setControl(UnsafeMutableRawBufferPointer(rebasing: bytes[..<count]))
  }

  /// Closes the descriptors that have arrived; says how many they were.
  func closeDescriptors() -> Int {
    // SAFETY: the kernel has filled this many of the bytes, and nobody else has seen the numbers in
    // them.
    let filled = unsafe UnsafeMutableRawBufferPointer(
      rebasing: bytes[..<min(header.pointee.control_length, Self.controlCapacity)])
    return unsafe ReceivedAncillary(takingFrom: filled).descriptors.count
  }

  /// The completion is missing: the kernel may come back to this memory as long as the process
  /// lives.
  func keepForever() { _ = unsafe Unmanaged.passRetained(self) }
}

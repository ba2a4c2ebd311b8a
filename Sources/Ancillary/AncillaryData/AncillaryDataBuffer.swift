// SPDX-License-Identifier: Apache-2.0
/// Ancillary data with memory of its own, which grows: keep one and use it for many messages.
///
/// It borrows descriptors like ``AncillaryData``, so it cannot outlive them; it never owns received
/// ones: those belong to the value that ``ancillaryData()`` returns.
@safe
public struct AncillaryDataBuffer: ~Copyable, ~Escapable {
  /// Every byte is initialized.
  private var memory: UnsafeMutableRawBufferPointer
  private var used: Int

  /// An empty one. Allocates nothing.
  @_lifetime(immortal)
  public init() {
    unsafe memory = UnsafeMutableRawBufferPointer(start: nil, count: 0)
    used = 0
  }

  /// An empty one with room for `capacity` bytes: see ``ControlMessages/space(for:)`` and
  /// ``ControlMessages/space(forDescriptors:)``.
  @_lifetime(immortal)
  public init(capacity: Int) {
    self.init()
    reserveExactCapacity(capacity)
  }

  // SAFETY: allocated by `reserveExactCapacity`; freed only here and there. Freeing `nil` does
  // nothing.
  deinit { unsafe memory.deallocate() }

  /// How many bytes there is room for, in a receive too.
  public var capacity: Int { unsafe memory.count }

  /// The control messages appended so far.
  public var controlMessages: ControlMessages {
    @_lifetime(borrow self)
    borrowing get {
      // SAFETY: the memory is initialized, and borrowed with this value.
      ControlMessages(
        unsafe _overrideLifetime(memory.bytes, borrowing: self).extracting(first: used))
    }
  }

  /// Makes room for `minimum` bytes in all; grows in steps, so that many small ones are cheap.
  public mutating func reserveCapacity(_ minimum: Int) {
    if minimum > capacity { reserveExactCapacity(max(minimum, capacity * 2)) }
  }

  /// Makes room for exactly `minimum` bytes in all, or leaves it when there is more.
  public mutating func reserveExactCapacity(_ minimum: Int) {
    guard minimum > capacity else { return }
    // SAFETY: a new allocation, initialized here; the old one is freed once, after its bytes are
    // copied.
    let larger = UnsafeMutableRawBufferPointer.allocate(
      byteCount: minimum, alignment: ControlMessageLayout.alignment)
    unsafe larger.initializeMemory(as: UInt8.self, repeating: 0)
    unsafe larger.copyMemory(from: UnsafeRawBufferPointer(memory))
    unsafe memory.deallocate()
    unsafe memory = larger
  }

  /// Removes all control messages; keeps the memory.
  public mutating func removeAll() { used = 0 }

  /// Appends a message with any level, type and payload.
  @_lifetime(self: copy self)
  public mutating func append(level: Int32, type: Int32, bytes: RawSpan) {
    grow(by: ControlMessages.space(for: bytes.byteCount)) { (output) throws(AncillaryError) in
      try output.appendControlMessage(ControlMessageKind(level: level, type: type), bytes: bytes)
    }
  }

  /// Appends a copy of a message.
  @_lifetime(self: copy self)
  public mutating func append(_ message: borrowing ControlMessage) {
    append(level: message.level, type: message.type, bytes: message.data)
  }

  /// Appends a message of a typed kind.
  @_lifetime(self: copy self)
  public mutating func append(_ value: some EncodableControlMessage) {
    grow(by: value.space) { (output) throws(AncillaryError) in
      try output.appendControlMessage(value)
    }
  }

  /// Appends an `SCM_RIGHTS` message that lends `descriptors`; none for an empty span. They are
  /// borrowed until this value is gone.
  ///
  /// - Throws: ``AncillaryError/Code/tooManyDescriptors`` above
  ///   ``ControlMessages/maximumDescriptors``.
  @_lifetime(self: copy self, copy descriptors)
  public mutating func append(descriptors: Span<OwnedFd>) throws(AncillaryError) {
    guard descriptors.count <= ControlMessages.maximumDescriptors else {
      throw AncillaryError(
        .tooManyDescriptors, actual: descriptors.count, limit: ControlMessages.maximumDescriptors)
    }
    grow(by: ControlMessages.space(forDescriptors: descriptors.count)) {
      (output) throws(AncillaryError) in
      try output.appendRights(descriptors)
    }
  }

  /// The ancillary data for one send or receive: it has these control messages and all of this
  /// memory. This buffer is empty afterwards, and can be filled again when the returned value is
  /// gone.
  @_lifetime(&self)
  public mutating func ancillaryData() -> AncillaryData {
    let used = self.used
    self.used = 0
    // SAFETY: the memory is initialized, and borrowed exclusively as long as the result lives.
    let bytes = unsafe _overrideLifetime(MutableRawSpan(_unsafeBytes: memory), mutating: &self)
    return AncillaryData(bytes, used: used)
  }

  private mutating func grow(
    by space: Int, _ body: (inout OutputRawSpan) throws(AncillaryError) -> Void
  ) {
    reserveCapacity(used + space)
    do {
      // SAFETY: the unused part of the memory, which this value owns.
      used += try unsafe fill(UnsafeMutableRawBufferPointer(rebasing: memory[used...]), body)
    } catch { preconditionFailure("a message did not fit into its own space: \(error)") }
  }
}

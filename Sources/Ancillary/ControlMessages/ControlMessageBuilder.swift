// SPDX-License-Identifier: Apache-2.0
/// Builds control messages in memory of the caller's: fixed capacity, no allocation, and an error
/// instead of an overflow.
///
/// Padding is zeroed, so no stale byte leaves the process. A failed append leaves the buffer as it
/// was.
///
/// ```swift
/// var builder = ControlMessageBuilder(output)      // an OutputRawSpan
/// try builder.append(TimeToLive(3))
/// let output = builder.finish()                    // its `byteCount` goes to msg_controllen
/// ```
public struct ControlMessageBuilder: ~Copyable, ~Escapable {
  private var output: OutputRawSpan

  /// Builds behind what `output` already holds.
  @_lifetime(copy output)
  public init(_ output: consuming OutputRawSpan) { self.output = output }

  /// How many bytes of messages there are now.
  public var byteCount: Int { output.byteCount }

  /// How many bytes are free.
  public var freeCapacity: Int { output.freeCapacity }

  /// The messages so far.
  public var messages: ControlMessages {
    @_lifetime(borrow self)
    borrowing get { ControlMessages(output.bytes) }
  }

  /// Appends a message with any level, type and payload.
  ///
  /// - Throws: ``AncillaryError/Code/noCapacity`` when ``ControlMessages/space(for:)`` of the
  ///   payload exceeds ``freeCapacity``.
  @_lifetime(self: copy self)
  public mutating func append(level: Int32, type: Int32, bytes: RawSpan) throws(AncillaryError) {
    try output.appendControlMessage(ControlMessageKind(level: level, type: type), bytes: bytes)
  }

  /// Appends a copy of another message.
  ///
  /// - Throws: ``AncillaryError/Code/noCapacity``.
  @_lifetime(self: copy self)
  public mutating func append(_ message: borrowing ControlMessage) throws(AncillaryError) {
    try append(level: message.level, type: message.type, bytes: message.data)
  }

  /// Appends a message of a typed kind.
  ///
  /// - Throws: ``AncillaryError/Code/noCapacity``.
  @_lifetime(self: copy self)
  public mutating func append(_ value: some EncodableControlMessage) throws(AncillaryError) {
    try output.appendControlMessage(value)
  }

  /// Appends one `SCM_RIGHTS` message that lends `descriptors`; none for an empty span. They are
  /// borrowed for as long as this builder and the bytes that it gives back live.
  ///
  /// - Throws: ``AncillaryError/Code/tooManyDescriptors`` above
  ///   ``ControlMessages/maximumDescriptors``; ``AncillaryError/Code/noCapacity``.
  @_lifetime(self: copy self, copy descriptors)
  public mutating func append(descriptors: Span<OwnedFd>) throws(AncillaryError) {
    try output.appendRights(descriptors)
  }

  /// Forgets all messages; the memory can be filled again.
  @_lifetime(self: copy self)
  public mutating func removeAll() { output.removeAll() }

  /// Ends the building and gives the memory back, with the messages in it.
  @_lifetime(copy self)
  public consuming func finish() -> OutputRawSpan { output }
}

extension OutputRawSpan {
  /// Writes a header after checking that header, payload and padding fit. The caller then appends
  /// exactly the payload and the padding.
  @_lifetime(self: copy self)
  @inline(__always)
  mutating func appendControlMessageHeader(_ kind: ControlMessageKind, payload: Int)
    throws(AncillaryError)
  {
    let space = ControlMessages.space(for: payload)
    guard space <= freeCapacity else {
      throw AncillaryError(.noCapacity, actual: space, limit: freeCapacity)
    }
    append(integer: ControlMessageLayout.Length(ControlMessageLayout.headerSize + payload))
    append(integer: kind.level)
    append(integer: kind.type)
    append(zeroes: ControlMessageLayout.headerSize - ControlMessageLayout.rawHeaderSize)
  }

  @_lifetime(self: copy self)
  mutating func appendControlMessage(_ kind: ControlMessageKind, bytes: RawSpan)
    throws(AncillaryError)
  {
    try appendControlMessageHeader(kind, payload: bytes.byteCount)
    append(copying: bytes)
    append(zeroes: ControlMessageLayout.align(bytes.byteCount) - bytes.byteCount)
  }

  @_lifetime(self: copy self)
  mutating func appendControlMessage(_ value: some EncodableControlMessage) throws(AncillaryError) {
    let payload = value.encodedByteCount
    try appendControlMessageHeader(value.kind, payload: payload)
    let start = byteCount
    value.encode(into: &self)
    precondition(
      byteCount - start == payload, "a control message wrote another length than it announced")
    append(zeroes: ControlMessageLayout.align(payload) - payload)
  }
}

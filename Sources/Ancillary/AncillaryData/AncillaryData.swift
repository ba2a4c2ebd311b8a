// SPDX-License-Identifier: Apache-2.0
public import SystemPackage

/// The ancillary data of one message: control messages in memory of the caller's, and the ownership
/// of the descriptors they name.
///
/// - **To send**, append control messages and *borrow* descriptors: this value cannot outlive the
///   span that it borrowed them from, so they stay open until it is gone.
/// - **After a receive**, it *owns* every descriptor that arrived. Take them from ``descriptors``;
///   the next receive, ``removeAll()`` and the end of the value close those that were not taken.
///
/// ```swift
/// var memory = InlineArray<64, UInt8>(repeating: 0)
/// var span = memory.mutableSpan
/// var data = AncillaryData(span.mutableBytes)
/// try data.append(descriptors: files.span)
/// _ = try socket.sendMessage(GatherBuffers(payload), ancillary: &data)
/// ```
public struct AncillaryData: ~Copyable, ~Escapable {
  private var memory: MutableRawSpan
  private var used: Int
  private var state: State
  private var received: ReceivedAncillary

  private enum State { case building, lent, received }

  /// An empty one over `memory`, all of which can be filled: by
  /// ``append(_:)-(EncodableControlMessage)`` or by a receive.
  ///
  /// For a receive, 2048 bytes hold everything that Linux attaches to one message, except a
  /// security label: reserve its length as well.
  @_lifetime(copy memory)
  public init(_ memory: consuming MutableRawSpan) {
    self.init(memory, used: 0)
  }

  /// An empty one over a span of bytes, as of an array or an `InlineArray`.
  @_lifetime(&memory)
  public init(_ memory: inout MutableSpan<UInt8>) {
    // SAFETY: every bit pattern is a valid byte.
    self.init(unsafe memory.mutableBytes)
  }

  /// One without memory, for messages that have no ancillary data. A receive with it loses what
  /// arrives: descriptors are closed by the system.
  @_lifetime(immortal)
  public init() {
    self.init(MutableRawSpan(), used: 0)
  }

  /// Creates a value over `memory`, whose first `used` bytes are control messages.
  @_lifetime(copy memory)
  init(_ memory: consuming MutableRawSpan, used: Int) {
    self.memory = memory
    self.used = used
    state = .building
    received = ReceivedAncillary()
  }

  /// How many bytes the memory has.
  public var capacity: Int { memory.byteCount }

  /// The control messages: those appended, or those received. In the latter each descriptor that
  /// was taken into ownership is overwritten with -1.
  public var controlMessages: ControlMessages {
    @_lifetime(borrow self)
    borrowing get { ControlMessages(memory.bytes.extracting(first: used)) }
  }

  /// The descriptors that the last receive brought; empty before.
  public var descriptors: OwnedFds {
    _read { yield received.descriptors }
    _modify { yield &received.descriptors }
  }

  /// Slots in which the last receive brought an error instead of a descriptor.
  public var failures: [DescriptorFailure] { received.failures }

  /// The sender's credentials, as the last receive brought them.
  public var credentials: Credentials? { received.credentials }

  /// Takes all descriptors of the last receive.
  public mutating func takeDescriptors() -> OwnedFds {
    var taken = OwnedFds()
    swap(&taken, &received.descriptors)
    return taken
  }

  /// Takes the sender's process out of the last receive; `nil` when nothing came or it was taken.
  ///
  /// - Throws: why the kernel could not make a descriptor of it; `ESRCH` when the sender has ended.
  public mutating func takeProcess() throws(Errno) -> ProcessFd? {
    try received.process.take()?.get()
  }

  /// Forgets the control messages, and closes the received descriptors that were not taken.
  public mutating func removeAll() {
    used = 0
    state = .building
    received = ReceivedAncillary()
  }
}

extension AncillaryData {
  /// Appends a message with any level, type and payload. After a receive, this starts a new list of
  /// messages; received descriptors stay owned.
  ///
  /// - Throws: ``AncillaryError/Code/noCapacity``.
  @_lifetime(self: copy self)
  public mutating func append(level: Int32, type: Int32, bytes: RawSpan) throws(AncillaryError) {
    try build { (output) throws(AncillaryError) in
      try output.appendControlMessage(ControlMessageKind(level: level, type: type), bytes: bytes)
    }
  }

  /// Appends a copy of a message.
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
    try build { (output) throws(AncillaryError) in try output.appendControlMessage(value) }
  }

  /// Appends an `SCM_RIGHTS` message that lends `descriptors`; none for an empty span. They are
  /// borrowed until this value is gone.
  ///
  /// - Throws: ``AncillaryError/Code/tooManyDescriptors`` above
  ///   ``ControlMessages/maximumDescriptors``; ``AncillaryError/Code/noCapacity``.
  @_lifetime(self: copy self, copy descriptors)
  public mutating func append(descriptors: Span<OwnedFd>) throws(AncillaryError) {
    try build { (output) throws(AncillaryError) in try output.appendRights(descriptors) }
  }

  private mutating func build(_ body: (inout OutputRawSpan) throws(AncillaryError) -> Void)
    throws(AncillaryError)
  {
    precondition(state != .lent, "control messages appended while the memory is lent to a receive")
    let start = state == .received ? 0 : used
    // SAFETY: the unused part of the memory, to which this value has exclusive access.
    let added = try unsafe memory.withUnsafeMutableBytes { (bytes) throws(AncillaryError) in
      try unsafe fill(UnsafeMutableRawBufferPointer(rebasing: bytes[start...]), body)
    }
    // Updated only now, so that a failed append changes nothing.
    used = start + added
    state = .building
  }
}

extension AncillaryData {
  /// The low-level form of a send: lends the bytes that belong into `msg_control`, for a sendmsg(2)
  /// of your own. Empty after a receive: what was received is not sent.
  ///
  /// Unsafe because the bytes name borrowed descriptors: don't keep the pointer, and don't let an
  /// asynchronous send outlive this value.
  @unsafe
  public borrowing func withUnsafeOutgoingBytes<R: ~Copyable, E: Error>(
    _ body: (UnsafeRawBufferPointer) throws(E) -> R
  ) throws(E) -> R {
    // SAFETY: responsibility passes to the caller.
    try unsafe memory.bytes.extracting(first: state == .building ? used : 0).withUnsafeBytes(body)
  }

  /// The low-level form of a receive, first half: lends all of the memory for `msg_control` and
  /// `msg_controllen` of a recvmsg(2) of your own. Forgets the control messages, and closes the
  /// received descriptors that were not taken.
  ///
  /// Unsafe because the pointer is valid only until ``unsafeEndReceive(byteCount:)``, and what is
  /// written there becomes ownership.
  @unsafe
  public mutating func unsafeBeginReceive() -> UnsafeMutableRawBufferPointer {
    removeAll()
    state = .lent
    // SAFETY: responsibility passes to the caller; this value has exclusive access to the memory
    // for its whole life.
    return unsafe memory.withUnsafeMutableBytes { unsafe $0 }
  }

  /// The low-level form of a receive, second half: takes ownership of every descriptor in the first
  /// `byteCount` bytes.
  ///
  /// Unsafe because the numbers are believed: pass the `msg_controllen` of a receive that
  /// succeeded, and 0 for one that failed.
  ///
  /// - Precondition: ``unsafeBeginReceive()`` was called, once; `byteCount` is not above
  ///   ``capacity``.
  @unsafe
  public mutating func unsafeEndReceive(byteCount: Int) {
    precondition(state == .lent, "no receive has begun")
    precondition(byteCount >= 0 && byteCount <= memory.byteCount, "more control bytes than memory")
    // SAFETY: guaranteed by the caller.
    received = unsafe memory.withUnsafeMutableBytes { bytes in
      unsafe ReceivedAncillary(
        takingFrom: UnsafeMutableRawBufferPointer(rebasing: bytes[..<byteCount]))
    }
    used = byteCount
    state = .received
  }
}

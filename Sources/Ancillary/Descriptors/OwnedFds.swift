// SPDX-License-Identifier: Apache-2.0
public import SystemPackage

/// The descriptors of one message, in the order in which they arrived; each is owned here until it
/// is taken, and all that is left closes when the value ends.
///
/// Up to ``inlineCapacity`` descriptors need no allocation; more need one, which ``closeAll()``
/// keeps for reuse.
@safe
public struct OwnedFds: ~Copyable, @unchecked Sendable {
  // Sendable: this value alone owns the spill, like an array's storage, and the value cannot be
  // copied.
  @usableFromInline var inlineNumbers: InlineArray<4, Int32>
  @usableFromInline var spill: UnsafeMutablePointer<Int32>?
  @usableFromInline var spillCapacity: Int
  /// The index of the first descriptor that has not been taken.
  @usableFromInline var head: Int

  /// How many descriptors are left.
  @inlinable public var count: Int { left }
  @usableFromInline var left: Int

  /// How many descriptors fit without an allocation.
  public static var inlineCapacity: Int { 4 }

  /// An empty collection. Allocates nothing.
  @inlinable
  public init() {
    inlineNumbers = InlineArray(repeating: -1)
    unsafe spill = nil
    spillCapacity = 0
    head = 0
    left = 0
  }

  deinit {
    for index in head..<head + count { _ = closeNumber(number(at: index)) }
    // SAFETY: allocated by `grow`, freed only here and there.
    unsafe spill?.deallocate()
  }

  /// Whether no descriptor is left.
  @inlinable
  public var isEmpty: Bool { count == 0 }

  /// How many descriptors fit before the next allocation.
  @inlinable
  public var capacity: Int { max(spillCapacity, Self.inlineCapacity) }

  /// Makes room for `minimum` descriptors in all, so that appending up to that many allocates
  /// nothing.
  public mutating func reserveCapacity(_ minimum: Int) {
    if minimum > capacity { grow(to: minimum) }
  }

  /// Adds `descriptor` at the end.
  public mutating func append(_ descriptor: consuming OwnedFd) {
    // `release` gives up ownership; nothing between here and the store can fail.
    append(number: descriptor.release().rawValue)
  }

  /// Takes the descriptor that arrived first; `nil` when none is left.
  @inlinable
  public mutating func takeFirst() -> OwnedFd? {
    guard count > 0 else { return nil }
    let first = number(at: head)
    left -= 1
    head = count == 0 ? 0 : head + 1
    return OwnedFd(number: first)
  }

  /// Takes the descriptor that arrived last; `nil` when none is left.
  @inlinable
  public mutating func takeLast() -> OwnedFd? {
    guard count > 0 else { return nil }
    left -= 1
    let last = number(at: head + count)
    if count == 0 { head = 0 }
    return OwnedFd(number: last)
  }

  /// Takes the descriptor at `index`, counted among those that are left. Those behind it move up.
  ///
  /// - Precondition: `index` is 0 or more, and less than ``count``.
  public mutating func remove(at index: Int) -> OwnedFd {
    precondition(index >= 0 && index < count, "there is no such descriptor")
    // If several have this name, they are taken in order without moving the others.
    if index == 0 { return takeFirst()! }
    let removed = number(at: head + index)
    for place in head + index..<head + count - 1 { setNumber(number(at: place + 1), at: place) }
    left -= 1
    if count == 0 { head = 0 }
    return OwnedFd(number: removed)
  }

  /// Closes all that are left, ignoring close errors. The allocation stays for reuse.
  public mutating func closeAll() { _ = keepFirst(0) }

  /// Keeps the `maximum` descriptors that arrived first, closes the others, and says how many it
  /// closed.
  ///
  /// - Precondition: `maximum` is not negative.
  @discardableResult
  public mutating func keepFirst(_ maximum: Int) -> Int {
    precondition(maximum >= 0, "a negative number of descriptors")
    let surplus = count - maximum
    guard surplus > 0 else { return 0 }
    for index in head + maximum..<head + count { _ = closeNumber(number(at: index)) }
    left = maximum
    if count == 0 { head = 0 }
    return surplus
  }
}

extension OwnedFds {
  @inlinable
  func number(at index: Int) -> Int32 {
    if let spill = unsafe spill {
      // SAFETY: `index` is in `head..<head + count`, which is inside the spill.
      return unsafe spill[index]
    }
    return inlineNumbers[index]
  }

  @inline(__always)
  private mutating func append(number: Int32) {
    if head + count == capacity { makeRoomAtEnd(for: 1, orGrowTo: capacity * 4) }
    if let spill = unsafe spill {
      // SAFETY: room was made above.
      unsafe spill[head + count] = number
    } else {
      inlineNumbers[head + count] = number
    }
    left += 1
  }

  /// Makes room for `added` more at the end: by moving to the front if that suffices, otherwise in
  /// a new allocation of `newCapacity`.
  private mutating func makeRoomAtEnd(for added: Int, orGrowTo newCapacity: Int) {
    if count + added > capacity { return grow(to: newCapacity) }
    for index in 0..<count { setNumber(number(at: head + index), at: index) }
    head = 0
  }

  private mutating func setNumber(_ number: Int32, at index: Int) {
    if let spill = unsafe spill {
      // SAFETY: callers stay within the capacity.
      unsafe spill[index] = number
    } else {
      inlineNumbers[index] = number
    }
  }

  /// Moves everything to one allocation of `newCapacity`.
  private mutating func grow(to newCapacity: Int) {
    // SAFETY: a new allocation larger than `count`, initialized where it is read; the old one is
    // freed once.
    let larger = UnsafeMutablePointer<Int32>.allocate(capacity: newCapacity)
    for index in 0..<count { unsafe larger[index] = number(at: head + index) }
    unsafe spill?.deallocate()
    unsafe spill = larger
    spillCapacity = newCapacity
    head = 0
  }

  /// Appends `source`, whose numbers are all open descriptors without another owner.
  @inline(__always)
  private mutating func appendOwned(_ source: UnsafeRawBufferPointer) {
    let added = source.count / MemoryLayout<Int32>.size
    if head + count + added > capacity { makeRoomAtEnd(for: added, orGrowTo: count + added) }
    if let spill = unsafe spill {
      // SAFETY: the room was reserved above; the source is outside this value.
      unsafe UnsafeMutableRawPointer(spill + head + count).copyMemory(
        from: source.baseAddress!, byteCount: added * 4)
    } else {
      for index in 0..<added {
        // SAFETY: `index` is below the number of slots in `source`.
        inlineNumbers[head + count + index] = unsafe source.loadUnaligned(
          fromByteOffset: index * 4, as: Int32.self)
      }
    }
    left += added
  }
}

extension OwnedFds {
  /// The descriptors that are left, borrowed: to forward them in another message, or to look at
  /// them without taking any.
  @inlinable
  public var span: Span<OwnedFd> {
    @_lifetime(borrow self)
    borrowing get {
      if let spill = unsafe spill {
        // SAFETY: OwnedFd is one Int32, so the numbers have its layout; this value owns the spill,
        // which is borrowed with it; a span only borrows, so nothing is closed through it.
        let first = unsafe UnsafeRawPointer(spill + head).assumingMemoryBound(to: OwnedFd.self)
        return unsafe _overrideLifetime(
          Span<OwnedFd>(_unsafeStart: first, count: count), borrowing: self)
      }
      let numbers = inlineNumbers.span.extracting(head..<head + count)
      // SAFETY: the layouts are equal; `numbers` depends on this borrow, which keeps the inline
      // array at one address.
      let first = unsafe numbers.withUnsafeBytes { bytes in
        unsafe bytes.baseAddress.map { unsafe $0.assumingMemoryBound(to: OwnedFd.self) }
      }
      guard let first = unsafe first else { return Span() }
      return unsafe _overrideLifetime(
        Span<OwnedFd>(_unsafeStart: first, count: count), borrowing: self)
    }
  }
}

extension OwnedFds {
  /// Sets close-on-exec on all that are left. Never needed on Linux and FreeBSD, where they arrive
  /// with it; macOS has no `MSG_CMSG_CLOEXEC`, so a process that starts others meanwhile can leak
  /// descriptors there.
  ///
  /// - Throws: the error of fcntl(2); those before the failing one have been set.
  public borrowing func setCloseOnExec() throws(Errno) {
    for index in head..<head + count { try Ancillary.setCloseOnExec(number(at: index)) }
  }
}

extension OwnedFds {
  /// How many descriptors there are, without their numbers: a number in a log invites use after
  /// close.
  public var debugDescription: String {
    "OwnedFds(\(count) \(count == 1 ? "descriptor" : "descriptors"))"
  }
}

extension OwnedFds {
  /// Gives away all descriptors that are left, without closing them: `body` gets their numbers in
  /// order, and must pass each on to a new owner. The allocation stays for reuse.
  ///
  /// Unsafe because nothing owns the descriptors when `body` ends, not even when it throws.
  @unsafe
  @inlinable
  public mutating func releaseAll<R: ~Copyable, E: Error>(
    _ body: (Span<FileDescriptor>) throws(E) -> R
  ) throws(E) -> R {
    defer {
      left = 0
      head = 0
    }
    // SAFETY: both types are one Int32; the memory is borrowed for the call.
    return try unsafe span.withUnsafeBufferPointer { (buffer) throws(E) in
      guard let start = buffer.baseAddress else { return try body(Span()) }
      let first = unsafe UnsafeRawPointer(start).assumingMemoryBound(to: FileDescriptor.self)
      return try body(unsafe Span(_unsafeStart: first, count: buffer.count))
    }
  }
}

// MARK: Adopting

extension OwnedFds {
  /// Takes ownership of **every** descriptor of every `SCM_RIGHTS` message in `control`, and of
  /// nothing else: the descriptor in an `SCM_PIDFD` message stays a number without an owner and
  /// leaks, so with `SO_PASSPIDFD` use ``ReceivedAncillary``.
  ///
  /// Each taken slot is overwritten with -1, so that the same bytes cannot be adopted twice.
  /// Descriptors are counted by the header's length: `CMSG_SPACE` for one has room for two.
  /// Allocates only as ``OwnedFds`` does: not up to four descriptors, once beyond.
  ///
  /// - Parameter control: the first `msg_controllen` bytes of the buffer that recvmsg(2) filled;
  ///   any alignment. Unsafe because the numbers in it are trusted: they must come from the kernel,
  ///   not from a peer, and must have no other owner.
  @unsafe
  public init(adoptingRightsIn control: UnsafeMutableRawBufferPointer) {
    self.init()
    unsafe adopt(rightsIn: control)
  }

  /// Appends every descriptor of every `SCM_RIGHTS` message in `control`, as
  /// ``init(adoptingRightsIn:)`` takes them. With enough ``reserveCapacity(_:)`` nothing is
  /// allocated. Slots without a descriptor are skipped.
  ///
  /// - Returns: how many descriptors were taken.
  @unsafe
  @discardableResult
  public mutating func adopt(rightsIn control: UnsafeMutableRawBufferPointer) -> Int {
    var ignored = IgnoredFailures()
    return unsafe adoptAll(in: control, failures: &ignored)
  }

  /// Appends every descriptor of every `SCM_RIGHTS` message in `control`, as ``adopt(rightsIn:)``
  /// does, and the slots without a descriptor to `failures`.
  ///
  /// - Returns: how many descriptors were taken.
  @unsafe
  @discardableResult
  public mutating func adopt(
    rightsIn control: UnsafeMutableRawBufferPointer, failures: inout [DescriptorFailure]
  ) -> Int {
    unsafe adoptAll(in: control, failures: &failures)
  }

  /// Adopts the descriptors of control data that consists of exactly one `SCM_RIGHTS` message with
  /// a descriptor in each slot. Returns false and adopts nothing if there is anything else, which
  /// ``ReceivedAncillary`` decodes.
  @unsafe
  package mutating func adopt(whole control: UnsafeMutableRawBufferPointer) -> Bool {
    guard let extent = unsafe ControlMessageExtent(in: control.bytes, at: 0),
      extent.kind == .rights, extent.next == control.count
    else {
      return false
    }
    // SAFETY: the extent lies inside `control`.
    let slots = unsafe UnsafeMutableRawBufferPointer(rebasing: control[extent.data])
    var offset = 0
    while offset + 4 <= slots.count {
      if unsafe slots.loadUnaligned(fromByteOffset: offset, as: Int32.self) < 0 { return false }
      offset += 4
    }
    var position = 0
    var none = IgnoredFailures()
    unsafe adopt(slots: slots, from: &position, failures: &none)
    return true
  }

  @inline(__always)
  private mutating func adoptAll(
    in control: UnsafeMutableRawBufferPointer, failures: inout some FailureSink
  ) -> Int {
    var position = 0
    let before = count
    var offset = 0
    while let extent = unsafe ControlMessageExtent(in: control.bytes, at: offset) {
      if extent.kind == .rights {
        // SAFETY: the extent lies inside `control`.
        unsafe adopt(
          slots: UnsafeMutableRawBufferPointer(rebasing: control[extent.data]), from: &position,
          failures: &failures)
      }
      offset = extent.next
    }
    return count - before
  }

  /// Adopts the descriptors of one `SCM_RIGHTS` payload. `position` is the position of its first
  /// slot in the message.
  @inline(__always)
  mutating func adopt(
    slots: UnsafeMutableRawBufferPointer, from position: inout Int, failures: inout some FailureSink
  ) {
    let added = slots.count / MemoryLayout<Int32>.size
    guard added > 0, let start = slots.baseAddress else { return }
    // SAFETY (all below): offsets stay within `added` whole slots; loads and stores are unaligned.
    if added == 1 {
      let slot = unsafe start.loadUnaligned(as: Int32.self)
      if slot >= 0 {
        append(number: slot)
        unsafe start.storeBytes(of: -1, as: Int32.self)
        position += 1
        return
      }
    }
    var signs: Int32 = 0
    for index in 0..<added {
      signs |= unsafe start.loadUnaligned(fromByteOffset: index * 4, as: Int32.self)
    }
    if signs >= 0 {
      unsafe appendOwned(UnsafeRawBufferPointer(start: start, count: added * 4))
      unsafe start.initializeMemory(as: UInt8.self, repeating: 0xFF, count: added * 4)
      position += added
    } else {
      unsafe adoptEach(start, added, from: &position, failures: &failures)
    }
  }

  /// Handles the rare case of errors among the slots.
  @inline(never)
  private mutating func adoptEach(
    _ start: UnsafeMutableRawPointer, _ added: Int, from position: inout Int,
    failures: inout some FailureSink
  ) {
    for index in 0..<added {
      // SAFETY: as in the caller.
      let slot = unsafe start.loadUnaligned(fromByteOffset: index * 4, as: Int32.self)
      if slot < 0 {
        failures.append(DescriptorFailure(position: position, slot: slot))
      } else {
        append(number: slot)
        unsafe start.storeBytes(of: -1, toByteOffset: index * 4, as: Int32.self)
      }
      position += 1
    }
  }
}

/// Receives the slots without a descriptor.
protocol FailureSink {
  mutating func append(_ failure: DescriptorFailure)
}

extension [DescriptorFailure]: FailureSink {}

/// Discards failures at no cost.
private struct IgnoredFailures: FailureSink {
  mutating func append(_ failure: DescriptorFailure) {}
}

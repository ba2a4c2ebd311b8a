// SPDX-License-Identifier: Apache-2.0
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
struct IgnoredFailures: FailureSink {
  mutating func append(_ failure: DescriptorFailure) {}
}

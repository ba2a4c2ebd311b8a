/// What ``OwnedFds/adopt(rightsIn:)`` found beside the descriptors it took.
public struct AdoptionSummary: Sendable {
  /// Descriptors taken.
  public internal(set) var adopted = 0

  /// Slots without a descriptor, and why.
  public internal(set) var failures: [DescriptorFailure] = []

  /// Slots seen: ``adopted`` and ``failures`` together.
  public var slots: Int { adopted + failures.count }
}

extension OwnedFds {
  /// Takes ownership of **every** descriptor of every `SCM_RIGHTS` message in `control`, and of nothing else.
  ///
  /// Each taken slot is overwritten with -1, so that the same bytes cannot be adopted twice. Descriptors are counted by the header's length:
  /// `CMSG_SPACE` for one has room for two. Allocates only as ``OwnedFds`` does: not up to four descriptors, once beyond.
  ///
  /// - Parameter control: the first `msg_controllen` bytes of the buffer that recvmsg(2) filled; any alignment. Unsafe because the numbers
  ///   in it are believed: they must come from the kernel, not from a peer, and nobody else may own them.
  @unsafe
  public init(adoptingRightsIn control: UnsafeMutableRawBufferPointer) {
    self.init()
    _ = unsafe adopt(rightsIn: control)
  }

  /// The same, appending to this collection: with enough ``reserveCapacity(_:)`` nothing is allocated.
  @unsafe
  public mutating func adopt(rightsIn control: UnsafeMutableRawBufferPointer) -> AdoptionSummary {
    var summary = AdoptionSummary()
    var offset = 0
    while let extent = unsafe ControlMessageExtent(in: control.bytes, at: offset) {
      if extent.kind == .rights {
        // SAFETY: the extent lies inside `control`.
        unsafe adopt(slots: UnsafeMutableRawBufferPointer(rebasing: control[extent.data]), summary: &summary)
      }
      offset = extent.next
    }
    return summary
  }

  /// Takes the descriptors of one `SCM_RIGHTS` payload.
  @inline(__always)
  mutating func adopt(slots: UnsafeMutableRawBufferPointer, summary: inout AdoptionSummary) {
    let count = slots.count / MemoryLayout<Int32>.size
    guard count > 0 else { return }
    // SAFETY (all below): offsets stay inside `count` whole slots; loads and stores are unaligned.
    let whole = unsafe UnsafeMutableRawBufferPointer(rebasing: slots[..<(count * 4)])
    var signs: Int32 = 0
    for index in 0..<count { signs |= unsafe whole.loadUnaligned(fromByteOffset: index * 4, as: Int32.self) }
    guard signs < 0 else {
      unsafe appendOwned(UnsafeRawBufferPointer(whole))
      summary.adopted += count
      unsafe whole.baseAddress!.initializeMemory(as: UInt8.self, repeating: 0xFF, count: count * 4)
      return
    }
    for index in 0..<count {
      let slot = unsafe whole.loadUnaligned(fromByteOffset: index * 4, as: Int32.self)
      if slot < 0 {
        summary.failures.append(DescriptorFailure(position: summary.slots, slot: slot))
      } else {
        append(number: slot)
        summary.adopted += 1
        unsafe whole.storeBytes(of: -1, toByteOffset: index * 4, as: Int32.self)
      }
    }
  }
}

internal import Ancillary
internal import CMessageSockets
internal import SystemPackage

extension Operation {
  enum Progress {
    /// The request goes to the kernel once more, with what is left of it.
    case again
    case finished
  }

  /// Takes in what one completion says. From here on every descriptor that came with it has an owner: the outcome.
  func absorb(_ completion: cms_completion) -> Progress {
    guard completion.result >= 0 else { return absorb(Errno(rawValue: -completion.result)) }
    let count = Int(completion.result)
    switch request {
    case .send: return absorbSent(count)
    case .receive: absorbReceived(count)
    case .accept: outcome.accepted = OwnedFd(adopting: FileDescriptor(rawValue: completion.result))
    case .connect: break
    case .timer: preconditionFailure("The kernel knows no timers of ours")
    }
    return .finished
  }

  private func absorb(_ errno: Errno) -> Progress {
    // A signal to the thread; nothing was transferred.
    if errno == .interrupted, life.mayContinue { return .again }
    outcome.errno = errno
    return .finished
  }

  private func absorbSent(_ count: Int) -> Progress {
    outcome.byteCount += count
    // SAFETY: the completion has come: the kernel does not read the header at the moment.
    let remaining = memory.advanceVectors(by: count)
    if remaining == 0 { return .finished }
    // Only streams send short, and what has gone out has taken the control messages along: the rest goes without.
    unsafe header.pointee.control = nil
    unsafe header.pointee.control_length = 0
    if count > 0, life.mayContinue { return .again }
    outcome.errno = .canceled
    return .finished
  }

  private func absorbReceived(_ count: Int) {
    let header = unsafe header
    outcome.byteCount = count
    outcome.messageFlags = unsafe header.pointee.flags & ~cms_msg_cmsg_cloexec
    // SAFETY: the kernel has filled this many bytes of the control block that was lent for this operation.
    if let control = unsafe loan.control {
      let filled = unsafe UnsafeMutableRawBufferPointer(rebasing: control[..<min(header.pointee.control_length, control.count)])
      if unsafe !filled.isEmpty { unsafe absorb(control: filled) }
    }
    // SAFETY: as above, for the payload block.
    if let payload = unsafe loan.payload { outcome.payload = unsafe [UInt8](payload[..<min(count, payload.count)]) }
  }

  private func absorb(control: UnsafeMutableRawBufferPointer) {
    outcome.ancillary = unsafe ReceivedAncillary(takingFrom: control)
    outcome.control = unsafe ControlMessageBuffer(copying: control.bytes)
  }
}

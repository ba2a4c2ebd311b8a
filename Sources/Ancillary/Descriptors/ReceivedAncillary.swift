// SPDX-License-Identifier: Apache-2.0
public import SystemPackage

/// The contents of the control bytes of one receive: every descriptor owned, everything else
/// decoded or left in place.
///
/// This is the low-level form, for a recvmsg(2) of your own (or an io_uring completion).
@frozen
public struct ReceivedAncillary: ~Copyable, Sendable {
  /// The descriptors of all `SCM_RIGHTS` messages, in order; what is not taken closes with this
  /// value.
  public var descriptors: OwnedFds

  /// Slots in which the kernel put an error instead of a descriptor.
  public var failures: [DescriptorFailure]

  /// The sender's process (`SCM_PIDFD`): owned, or why the kernel could not make it (`ESRCH`: the
  /// sender is gone); `nil` when there was none.
  public var process: Result<ProcessFd, Errno>?

  /// The sender's process, user and group (`SCM_CREDENTIALS`); `nil` when there were none, or their
  /// length was wrong.
  public var credentials: Credentials? {
    get { rawCredentials?.known }
    set { rawCredentials = newValue }
  }

  /// The credentials with the kernel's overflow numbers, which are replaced only when the value is
  /// used.
  @usableFromInline package var rawCredentials: Credentials?

  /// Nothing.
  @inlinable
  public init() {
    descriptors = OwnedFds()
    failures = []
    process = nil
    rawCredentials = nil
  }

  /// Takes ownership of every descriptor in `control`, of `SCM_RIGHTS` and of `SCM_PIDFD`, and
  /// reads the credentials.
  ///
  /// Each taken slot is overwritten with -1; all else stays in `control`, for ``ControlMessages``.
  /// Kinds that are not known are walked over, so they hide nothing. Should there be several
  /// `SCM_PIDFD` (Linux sends one) the first is kept and the others are closed. Allocates only for
  /// more than four descriptors, or for failures.
  ///
  /// - Parameter control: the first `msg_controllen` bytes of the buffer that recvmsg(2) filled;
  ///   any alignment. Unsafe because the numbers in it are believed: they must come from the
  ///   kernel, not from a peer, and must have no other owner.
  @unsafe
  @inlinable
  public init(takingFrom control: UnsafeMutableRawBufferPointer) {
    // Inlined, so that decoding fills the value in its final place. A returned value was copied
    // twice, which took longer than the decoding.
    self.init()
    unsafe take(from: control)
  }

  @usableFromInline
  mutating func take(from control: UnsafeMutableRawBufferPointer) {
    var position = 0
    var offset = 0
    while let extent = unsafe ControlMessageExtent(in: control.bytes, at: offset) {
      // SAFETY: the extent is inside `control`.
      let data = unsafe UnsafeMutableRawBufferPointer(rebasing: control[extent.data])
      switch extent.kind {
      case .rights:
        unsafe descriptors.adopt(slots: data, from: &position, failures: &failures)
      case .processDescriptor:
        let taken = unsafe Self.takeProcess(from: data)
        if process == nil { process = taken }
      case .credentials:
        if rawCredentials == nil, !extent.isTruncated {
          rawCredentials = unsafe try? Credentials(raw: data.bytes)
        }
      default: break
      }
      offset = extent.next
    }
  }

  /// The descriptor or error of an `SCM_PIDFD` payload; `nil` if the payload is too short.
  private static func takeProcess(from data: UnsafeMutableRawBufferPointer) -> Result<
    ProcessFd, Errno
  >? {
    guard data.count >= MemoryLayout<Int32>.size else { return nil }
    // SAFETY: the length was checked above.
    let slot = unsafe data.loadUnaligned(as: Int32.self)
    if slot < 0 { return .failure(DescriptorFailure.errno(ofSlot: slot)) }
    unsafe data.storeBytes(of: -1, as: Int32.self)
    return .success(ProcessFd(adopting: OwnedFd(number: slot)))
  }
}

/// A place in a message where the kernel put an error number instead of a descriptor.
///
/// Linux does so for `SCM_PIDFD` today and may for `SCM_RIGHTS`. It is not truncation (`MSG_CTRUNC`
/// is not set).
public struct DescriptorFailure: Hashable, Sendable {
  /// The place in the order in which the descriptors were sent, counted from 0 over all of the
  /// message.
  public let position: Int

  /// Why there is no descriptor. `EBADF` when the slot held a negative number that is no error
  /// number. `EPERM` also stands for a slot that was taken before: taken slots are overwritten with
  /// -1.
  public let errno: Errno

  package init(position: Int, slot: Int32) {
    self.position = position
    self.errno = Self.errno(ofSlot: slot)
  }

  /// The error that a negative slot represents: Linux uses the numbers 1 to 4095.
  static func errno(ofSlot slot: Int32) -> Errno {
    slot >= -4095 ? Errno(rawValue: -slot) : .badFileDescriptor
  }
}

// SPDX-License-Identifier: Apache-2.0
public import SystemPackage

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

  init(position: Int, slot: Int32) {
    self.position = position
    self.errno = Self.errno(ofSlot: slot)
  }

  /// The error that a negative slot stands for: Linux numbers them 1 to 4095.
  static func errno(ofSlot slot: Int32) -> Errno {
    slot >= -4095 ? Errno(rawValue: -slot) : .badFileDescriptor
  }
}

// SPDX-License-Identifier: Apache-2.0
import SystemPackage

@testable import SocketEngine

/// An open file that fstat(2) can distinguish from all others: the reading end of a separate pipe.
struct NumberedFile {
  let number: Int32
  let identity: UInt64

  init() {
    guard let ends = try? FileDescriptor.pipe(options: .closeOnExec) else {
      fatalError("no descriptors left")
    }
    try? ends.writeEnd.close()
    number = ends.readEnd.rawValue
    identity = SimulatedFiles.inode(number)
  }

  /// The identity of a received descriptor.
  static func identify(_ descriptor: FileDescriptor) -> UInt64 {
    check(
      SimulatedFiles.isCloseOnExec(descriptor.rawValue),
      "a received descriptor is closed, or not close-on-exec")
    return SimulatedFiles.inode(descriptor.rawValue)
  }
}

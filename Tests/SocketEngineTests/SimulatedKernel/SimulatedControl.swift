// SPDX-License-Identifier: Apache-2.0
import CMessageSockets

/// Encodes and decodes control bytes as a kernel does. Written separately, so that it does not
/// share a bug with the code under test.
enum SimulatedControl {
  private static let header = 16

  static func rights(_ numbers: [Int32]) -> [UInt8] {
    message(type: 1, numbers.flatMap { bytes($0) })
  }

  /// `SCM_INQ`, which some kernels attach without a request, and which the engine does not know.
  static var inquiry: [UInt8] { message(type: 84, bytes(Int32(7))) }

  /// `SCM_PIDFD`: a descriptor of the sender's process, or an error.
  static func process(_ number: Int32) -> [UInt8] { message(type: 4, bytes(number)) }

  static func credentials(process: Int32, user: UInt32, group: UInt32) -> [UInt8] {
    message(type: 2, bytes(process) + bytes(user) + bytes(group))
  }

  private static func message(type: Int32, _ data: [UInt8]) -> [UInt8] {
    let length = header + data.count
    return bytes(UInt64(length)) + bytes(Int32(1)) + bytes(type) + data
      + Array(repeating: 0, count: (8 - length % 8) % 8)
  }

  /// The descriptors in the control bytes of a send, which have at most one `SCM_RIGHTS`.
  static func numbers(in control: [UInt8]) -> [Int32] {
    if control.isEmpty { return [] }
    return control.withUnsafeBytes { bytes in
      let length = Int(bytes.loadUnaligned(as: UInt64.self))
      return stride(from: header, to: length, by: 4).map {
        bytes.loadUnaligned(fromByteOffset: $0, as: Int32.self)
      }
    }
  }

  private static func bytes(_ value: some FixedWidthInteger) -> [UInt8] {
    withUnsafeBytes(of: value) { Array($0) }
  }
}

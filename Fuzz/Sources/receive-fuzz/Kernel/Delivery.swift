// SPDX-License-Identifier: Apache-2.0
import SystemPackage

@testable import Ancillary

/// The result with which the hostile kernel has completed a receive.
struct Delivery {
  struct Failure: Equatable {
    let position: Int
    let errno: Int32
  }

  var payload: [UInt8] = []
  /// The reported number of bytes.
  var byteCount = 0
  /// The message's length if it is reported separately: a receive that asks for the full length
  /// gets this value.
  var fullLength: Int?
  var flags: Int32 = 0
  var control = InstalledControl()
  /// The sender's name, truncated to the room for it.
  var name: [UInt8] = []
  var errno: Errno?

  var sender: AnySocketAddress? { AnySocketAddress(systemBytes: name) }

  /// The rest of a stream's message after a receive into memory.
  func rest(after count: Int) -> Delivery {
    let rest = Array(payload.dropFirst(count))
    return Delivery(payload: rest, byteCount: rest.count)
  }
}

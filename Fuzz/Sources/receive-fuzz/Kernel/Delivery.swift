// SPDX-License-Identifier: Apache-2.0
import SystemPackage

@testable import Ancillary

/// What the hostile kernel has completed a receive with.
struct Delivery {
  struct Failure: Equatable {
    let position: Int
    let errno: Int32
  }

  var payload: [UInt8] = []
  /// How many bytes it says there were.
  var byteCount = 0
  /// How long it says the message was, where it says that apart: what a receive is told that asks
  /// for the full length.
  var fullLength: Int?
  var flags: Int32 = 0
  var control = InstalledControl()
  /// The sender's name, cut to the room for it.
  var name: [UInt8] = []
  var errno: Errno?

  var sender: AnySocketAddress? { AnySocketAddress(systemBytes: name) }

  /// What a receive into memory leaves of a stream's message.
  func rest(after count: Int) -> Delivery {
    let rest = Array(payload.dropFirst(count))
    return Delivery(payload: rest, byteCount: rest.count)
  }
}

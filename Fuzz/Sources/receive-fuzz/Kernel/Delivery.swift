import SystemPackage

/// What the hostile kernel has completed a receive with.
struct Delivery {
  struct Failure: Equatable {
    let position: Int
    let errno: Int32
  }

  var payload: [UInt8] = []
  /// How many bytes it says there were.
  var byteCount = 0
  var flags: Int32 = 0
  var control = InstalledControl()
  var errno: Errno?

  /// What a receive into memory leaves of a stream's message.
  func rest(after count: Int) -> Delivery {
    let rest = Array(payload.dropFirst(count))
    return Delivery(payload: rest, byteCount: rest.count)
  }
}

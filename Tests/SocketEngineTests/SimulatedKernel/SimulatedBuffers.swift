// SPDX-License-Identifier: Apache-2.0
@testable import SocketEngine

/// The buffers for multishot receives, as the simulated kernel uses them: records which ones the
/// kernel has.
final class SimulatedBuffers: ReceiveBuffers {
  private var free: [UInt16] = []
  private var isFree: [Bool]
  private(set) var violations: [String] = []
  let total: Int

  init(count: Int, controlSize: Int, payloadSize: Int) {
    total = count
    isFree = Array(repeating: false, count: count)
    super.init(nil, nil, count: count, controlSize: controlSize, payloadSize: payloadSize)
    for id in 0..<count { provide(UInt16(id)) }
  }

  override func provide(_ id: UInt16) {
    if isFree[Int(id)] { violations.append("buffer \(id) was given back twice") }
    isFree[Int(id)] = true
    free.append(id)
    // Overwritten, so that reading it after it was provided again gives wrong data.
    bytes(of: id).initializeMemory(as: UInt8.self, repeating: 0xDD)
  }

  /// Takes the buffer that was provided first, as in a buffer ring.
  func take() -> UInt16? {
    guard !free.isEmpty else { return nil }
    isFree[Int(free[0])] = false
    return free.removeFirst()
  }

  var missing: Int { total - free.count }
}

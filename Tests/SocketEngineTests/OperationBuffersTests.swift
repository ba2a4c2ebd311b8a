// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import SocketEngine

/// Failed attempts of a receive leave zeroed credentials in its control memory, and the message's
/// control data follows behind them. Its end is found because nothing but zeros comes after it, so
/// nothing of an earlier use may be left there.
@Suite struct OperationBuffersTests {
  private let core: LoopCore
  private var size: Int { core.controlBuffers.blockSize }

  init() throws { core = LoopCore(configuration: IOLoop.Configuration(), inbox: try Inbox()) }

  /// Uses a block as a receive does that needs zeros. The kernel writes `written` bytes, and the
  /// receive notes that unless it fails.
  private func receive(written: Int, noted: Bool = true) {
    var buffers = OperationBuffers()
    let block = buffers.acquireControl(isZeroed: true, from: core)
    #expect(block.count == size && block.allSatisfy { $0 == 0 })
    fill(block, written)
    if noted { buffers.noteControl(upTo: written) }
    buffers.release(to: core)
  }

  /// Uses a block as a send does that has `byteCount` bytes of control data.
  private func send(_ byteCount: Int) {
    var buffers = OperationBuffers()
    fill(buffers.acquireControl(of: byteCount, from: core), byteCount)
    buffers.release(to: core)
  }

  /// Uses a block as a receive does that needs no zeros.
  private func receiveElsewhere(written: Int) {
    var buffers = OperationBuffers()
    fill(buffers.acquireControl(isZeroed: false, from: core), written)
    buffers.release(to: core)
  }

  private func fill(_ block: UnsafeMutableRawBufferPointer, _ count: Int) {
    UnsafeMutableRawBufferPointer(rebasing: block[..<count])
      .initializeMemory(as: UInt8.self, repeating: 0xff)
  }

  @Test func nothingOfAnEarlierUseIsLeft() {
    // One block is used again and again, because the last that was released is the first to be
    // acquired.
    for written in [0, 8, 24, 40, 1100, size] {
      receive(written: written)
      receive(written: 24)
      receive(written: written, noted: false)
      receive(written: 0)
      send(written)
      receive(written: 16)
      receive(written: written)
      send(8)
      receive(written: 0)
      receiveElsewhere(written: written)
      send(24)
      receive(written: written, noted: false)
      send(16)
      receive(written: 0)
    }
    #expect(core.controlBuffers.inUse == 0)
  }

  /// Blocks that are in use at one time are different ones, and each remembers its own extent.
  @Test func eachBlockRemembersItsOwnExtent() {
    for count in [4, core.configuration.pooledBuffers + 4] {
      var used: [OperationBuffersBox] = []
      for index in 0..<count {
        let box = OperationBuffersBox()
        fill(box.buffers.acquireControl(of: index % size, from: core), index % size)
        used.append(box)
      }
      for box in used { box.buffers.release(to: core) }
      used = []
      for _ in 0..<count {
        let box = OperationBuffersBox()
        #expect(
          box.buffers.acquireControl(isZeroed: true, from: core).allSatisfy { $0 == 0 })
        used.append(box)
      }
      for box in used { box.buffers.release(to: core) }
    }
    #expect(core.controlBuffers.inUse == 0)
  }
}

private final class OperationBuffersBox {
  var buffers = OperationBuffers()
}

// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import SocketEngine

@Suite struct OperationLifeTests {
  @Test func succeeds() {
    var life = OperationLife()
    life.queue()
    life.submit()
    #expect(life.mayContinue)
    life.finish()
    #expect(life.state == .done)
    #expect(life.stopReason == nil)
    life.recycle()
    #expect(life.state == .free)
  }

  @Test func aQueuedOperationIsFinishedAtOnce() {
    var life = OperationLife()
    life.queue()
    #expect(life.stop(.taskCancelled) == .finish)
    #expect(life.state == .done)
    #expect(life.stop(.socketClosed) == .none)
    #expect(life.stopReason == .taskCancelled)
  }

  @Test func theKernelIsAskedOnce() {
    var life = OperationLife()
    life.queue()
    life.submit()
    #expect(life.stop(.deadline) == .cancelInKernel)
    #expect(life.stop(.taskCancelled) == .none)
    #expect(!life.mayContinue)
    #expect(life.stopReason == .deadline)
    life.finish()
    #expect(life.stop(.taskCancelled) == .none)
    life.recycle()
    #expect(life.stopReason == nil)
  }
}

@Suite struct OperationIDTests {
  @Test(arguments: [(0, 0), (1, 0), (7, 12), (UInt32.max - 1, UInt32.max)] as [(UInt32, UInt32)])
  func survivesTheKernel(index: UInt32, generation: UInt32) {
    let id = OperationID(index: index, generation: generation)
    #expect(OperationID(userData: id.userData) == id)
  }
}

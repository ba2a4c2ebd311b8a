// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import SocketEngine

@Suite struct OperationLifecycleTests {
  @Test func succeeds() {
    var life = OperationLifecycle()
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
    var life = OperationLifecycle()
    life.queue()
    #expect(life.stop(.taskCancelled) == .finish)
    #expect(life.state == .done)
    #expect(life.stop(.socketClosed) == .none)
    #expect(life.stopReason == .taskCancelled)
  }

  @Test func theKernelIsAskedOnce() {
    var life = OperationLifecycle()
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

  @Test func whatIsToBeFinishedOnceBegunIsStoppedBeforeItsFirstPart() {
    var life = OperationLifecycle()
    life.queue()
    life.finishesOnceBegun = true
    life.submit()
    #expect(life.stop(.deadline) == .cancelInKernel)
    life.finish()
    #expect(life.stopReason == .deadline)
    life.recycle()
    #expect(!life.finishesOnceBegun)
  }

  @Test(arguments: [StopReason.taskCancelled, .deadline])
  func itsCallerDoesNotStopItAfterItsFirstPart(reason: StopReason) {
    var life = OperationLifecycle()
    life.queue()
    life.finishesOnceBegun = true
    life.submit()
    let mayGoOn = life.continueAfterPart()
    #expect(mayGoOn)
    #expect(life.stop(reason) == .none)
    #expect(life.mayContinue)
    #expect(life.stop(.socketClosed) == .cancelInKernel)
    let mayNotGoOn = !life.continueAfterPart()
    #expect(mayNotGoOn)
  }

  @Test func aPartThatIsDoneOutweighsItsCallersReason() {
    var life = OperationLifecycle()
    life.queue()
    life.finishesOnceBegun = true
    life.submit()
    #expect(life.stop(.taskCancelled) == .cancelInKernel)
    let mayGoOn = life.continueAfterPart()
    #expect(mayGoOn)
    #expect(life.stopReason == nil)
    #expect(life.stop(.deadline) == .none)
    life.finish()
    #expect(life.stopReason == nil)
  }

  @Test(arguments: [StopReason.socketClosed, .loopShutdown, .loopFailed])
  func theEndOfTheSocketOutweighsItsCallersReason(reason: StopReason) {
    var life = OperationLifecycle()
    life.queue()
    life.finishesOnceBegun = true
    life.submit()
    #expect(life.stop(.taskCancelled) == .cancelInKernel)
    #expect(life.stop(reason) == .none)
    let mayNotGoOn = !life.continueAfterPart()
    #expect(mayNotGoOn)
    #expect(life.stopReason == reason)
  }

  @Test func otherRequestsAreStoppedBetweenTheirParts() {
    var life = OperationLifecycle()
    life.queue()
    life.submit()
    let mayGoOn = life.continueAfterPart()
    #expect(mayGoOn)
    #expect(life.stop(.taskCancelled) == .cancelInKernel)
    let mayNotGoOn = !life.continueAfterPart()
    #expect(mayNotGoOn)
  }
}

// SPDX-License-Identifier: Apache-2.0
import CMessageSockets
import SystemPackage
import Testing

@testable import Ancillary
@testable import SocketEngine

/// How received messages are classified, also for bytes that no current kernel delivers.
@Suite struct OutcomeTests {
  /// An outcome as a receive's completion creates it.
  private func outcome(control: [UInt8] = [], byteCount: Int = 0, flags: Int32 = 0)
    -> OperationOutcome
  {
    var outcome = OperationOutcome()
    outcome.byteCount = byteCount
    outcome.messageFlags = flags
    var control = control
    control.withUnsafeMutableBytes { outcome.absorb(control: $0) }
    return outcome
  }

  private func isEnd(
    _ kind: SocketKind, control: [UInt8] = [], flags: Int32 = 0, wasStopped: Bool = false
  ) -> Bool {
    var outcome = outcome(control: control, flags: flags)
    outcome.noteEnd(on: kind, wasStopped: wasStopped)
    return outcome.isEnd
  }

  @Test func slotsThatFailedAreSeenBesideDescriptors() {
    let outcome = outcome(
      control: SimulatedControl.rights([SimulatedFiles.make(1), -13]), byteCount: 1)
    #expect(outcome.receivedCount == 1)
    #expect(outcome.metadata?.failures.map(\.position) == [1])
    #expect(outcome.metadata?.failures.map(\.errno) == [.permissionDenied])
  }

  @Test func slotsThatAllFailedAreSeen() {
    let outcome = outcome(control: SimulatedControl.rights([-13]), byteCount: 1)
    #expect(outcome.receivedCount == 0)
    #expect(outcome.metadata?.failures.count == 1)
  }

  @Test func whatFollowsTheDescriptorsIsKept() {
    let control =
      SimulatedControl.rights([SimulatedFiles.make(1)])
      + SimulatedControl.credentials(process: 1, user: 2, group: 3)
    #expect(outcome(control: control).metadata?.credentials?.userID == 2)
  }

  @Test func nothingIsTheEndOfAStreamWhateverIsAttachedToIt() {
    #expect(isEnd(.stream))
    #expect(isEnd(.stream, control: SimulatedControl.inquiry))
    #expect(isEnd(.stream, control: SimulatedControl.credentials(process: 1, user: 2, group: 3)))
  }

  @Test(arguments: [SocketKind.stream, .seqpacket, .datagram])
  func descriptorsAreNoEndAlsoIfTheyFailed(kind: SocketKind) {
    #expect(
      !isEnd(kind, control: SimulatedControl.rights([SimulatedFiles.make(1)]), wasStopped: true))
    #expect(!isEnd(kind, control: SimulatedControl.rights([-13]), wasStopped: true))
  }

  @Test func missingControlDataIsNoEndOfMessages() {
    #expect(isEnd(.stream, flags: cms_msg_ctrunc))
    #expect(!isEnd(.seqpacket, flags: cms_msg_ctrunc))
    #expect(!isEnd(.datagram, flags: cms_msg_ctrunc, wasStopped: true))
  }

  @Test func credentialsTellAnEmptyMessageFromTheEnd() {
    #expect(isEnd(.seqpacket))
    #expect(
      !isEnd(.seqpacket, control: SimulatedControl.credentials(process: 1, user: 2, group: 3)))
    // Credentials of no process, which the kernel attaches to the end.
    #expect(
      isEnd(
        .seqpacket, control: SimulatedControl.credentials(process: 0, user: 65534, group: 65534)))
    #expect(!isEnd(.seqpacket, control: SimulatedControl.inquiry))
  }

  @Test func aDatagramSocketEndsOnlyWhenItIsShutDown() {
    #expect(!isEnd(.datagram))
    #expect(isEnd(.datagram, wasStopped: true))
    #expect(!isEnd(.datagram, control: SimulatedControl.inquiry, wasStopped: true))
  }

  @Test(arguments: [SocketKind.stream, .seqpacket])
  func anEntryOfTheErrorQueueIsNoEnd(kind: SocketKind) {
    #expect(!isEnd(kind, flags: cms_msg_errqueue))
  }

  // MARK: Policies

  private func judged(_ control: [UInt8], by policy: ReceivePolicy) -> OperationOutcome {
    var outcome = outcome(control: control, byteCount: 1)
    PolicyEnforcer(policy, closing: .alone).evaluate(&outcome)
    return outcome
  }

  @Test(arguments: [0, 1], [SocketKind.stream, .seqpacket])
  func aSlotThatFailedIsThrownUnlessThePolicyReportsIt(descriptors: Int, kind: SocketKind)
    async throws
  {
    var reporting = ReceivePolicy()
    reporting.onControlTruncation = .report
    for (policy, isThrown) in [(ReceivePolicy(), true), (reporting, false)] {
      let loop = try IOLoop()
      await loop.run {
        let channel = SocketChannel(
          adopting: OwnedFd(adopting: FileDescriptor(rawValue: SimulatedFiles.make(9))), kind: kind,
          loop: loop,
          policy: policy)
        let numbers = (0..<descriptors).map { SimulatedFiles.make(UInt64($0) + 1) } + [-13]
        var outcome = outcome(control: SimulatedControl.rights(numbers), byteCount: 1)
        channel.socket.noteLoss(&outcome)
        #expect(outcome.throwsLoss == isThrown)
        #expect(outcome.receivedCount == descriptors, "what arrived goes with the error")
        await channel.close()
      }
      await loop.shutdown()
    }
  }

  /// This also holds while the error waits to be thrown, which may take long if it was received
  /// ahead.
  @Test func anErrorOfThePolicyKeepsNeitherDescriptorsNorTheProcess() throws {
    var policy = ReceivePolicy(maximumDescriptorsPerMessage: 0)
    policy.onSurplus = .throwError
    let process = SimulatedFiles.make(1)
    let outcome = judged(
      SimulatedControl.rights([SimulatedFiles.make(2)]) + SimulatedControl.process(process),
      by: policy)
    #expect(outcome.evaluation?.error != nil)
    #expect(outcome.receivedCount == 0)
    #expect(SimulatedFiles.inode(process) == 0, "the process descriptor is open")
  }

  @Test func surplusIsTakenFromTheEnd() throws {
    var outcome = judged(
      SimulatedControl.rights((1...3).map { SimulatedFiles.make($0) }),
      by: ReceivePolicy(maximumDescriptorsPerMessage: 1))
    guard let first = outcome.descriptors.takeFirst() else {
      Issue.record("nothing is left")
      return
    }
    #expect(first.withUnsafeFileDescriptor { SimulatedFiles.identify($0.rawValue) } == 1)
    #expect(outcome.receivedCount == 0)
  }
}

extension OperationOutcome {
  fileprivate var receivedCount: Int { descriptors.count }
}

// SPDX-License-Identifier: Apache-2.0
package import Ancillary
internal import Synchronization
package import SystemPackage

/// What most messages do not have: all but bytes, descriptors and flags. Made for a message that
/// has some of it, so that the others stay small.
///
/// `@unchecked Sendable`: filled as long as one outcome has it, and from then on only read; the
/// process descriptor, which is given away, has a lock.
package final class MessageExtras: @unchecked Sendable {
  /// Slots that held an error instead of a descriptor.
  package internal(set) var failures: [DescriptorFailure] = []
  package internal(set) var credentials: Credentials?
  /// All control messages, with -1 in the place of each descriptor; empty if there were others than
  /// descriptors only.
  package internal(set) var control = ControlMessageBuffer()
  /// Why control data is missing, where `MSG_CTRUNC` says that some is.
  package internal(set) var controlLoss: ControlLoss?
  /// What the socket's policy has said about the message, if it has one and there was something to
  /// say.
  package internal(set) var judgement: PolicyJudgement?
  /// Where a datagram came from.
  package internal(set) var sender: AnySocketAddress?
  private let process = Mutex<Result<ProcessFd, Errno>?>(nil)

  init() {}

  func setProcess(_ process: consuming Result<ProcessFd, Errno>?) {
    self.process.withLock { swap(&$0, &process) }
  }

  /// Gives away the descriptor of the sender's process, or what the kernel said instead.
  package func takeProcess() -> Result<ProcessFd, Errno>? { process.withLock { $0.take() } }

  /// The same for a copy of the message, with `count` descriptors of its own; `failures` says which
  /// it could not have.
  func copy(holding count: Int, failures: [DescriptorFailure]) -> MessageExtras {
    let copy = MessageExtras()
    copy.failures = failures
    copy.credentials = credentials
    copy.control = control
    copy.controlLoss = controlLoss
    copy.judgement = judgement?.copy(holding: count)
    copy.sender = sender
    process.withLock { copy.setProcess(ProcessFd.duplicate($0)) }
    return copy
  }
}

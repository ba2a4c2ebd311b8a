// SPDX-License-Identifier: Apache-2.0
/// The limits of one Varlink connection, on either side.
public struct VarlinkLimits: Sendable, Hashable {
  /// How many bytes a message may have, 1 to 1 GiB. A peer that sends more is closed.
  public var messageSize: Int

  /// How many descriptors a message may carry, 0 to 253. A peer that sends more is closed.
  public var maximumDescriptorsPerMessage: Int

  /// The number of calls that a client may abandon, by cancellation or a deadline, whose replies
  /// have not come. One more closes the connection. 0 or more.
  public var abandonedCalls = 64

  /// Whether a client sends calls with descriptors while earlier calls are unanswered.
  ///
  /// Off by default. A service that reads both in one receive may give the descriptors to the wrong
  /// one: libsystemd 257 does, 262 and asyncvarlink do not. A call that is not answered, as
  /// `oneway` asks, is not waited for: do not send one in front of descriptors to such a service.
  public var pipelinesDescriptors = false

  /// 1 MiB and 253 descriptors.
  public init(messageSize: Int = 1 << 20, maximumDescriptorsPerMessage: Int = 253) {
    self.messageSize = messageSize
    self.maximumDescriptorsPerMessage = maximumDescriptorsPerMessage
  }
}

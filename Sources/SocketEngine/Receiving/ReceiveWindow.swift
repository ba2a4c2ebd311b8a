// SPDX-License-Identifier: Apache-2.0

/// How many messages a socket may receive before they are asked for. What is beyond stays in the
/// kernel, and slows the sender down.
public struct ReceiveWindow: Sendable, Equatable {
  /// Messages. 1 or more.
  public var messages: Int
  /// Descriptors in those messages. 1 or more.
  ///
  /// Below 253, the most that one message can carry, nothing is received ahead: one message at a
  /// time, when it is asked for. From 253 on the window is looked at after each message, while the
  /// kernel may have delivered more: at most ``IOLoop/Configuration/receiveBuffers`` messages
  /// beyond it (before Linux 6.1 twice as many), with up to 253 descriptors each. Where peers are
  /// not trusted and descriptors scarce, choose a smaller window or fewer buffers.
  public var descriptors: Int

  /// 32 messages, or 256 descriptors, whichever comes first.
  public init(messages: Int = 32, descriptors: Int = 256) {
    self.messages = max(1, messages)
    self.descriptors = max(1, descriptors)
  }
}

// SPDX-License-Identifier: Apache-2.0
public import Ancillary
public import MessageSockets
public import SocketEngine
public import SystemPackage

extension ReceivedMessage {
  /// Makes a message that no socket has received, to call the code that handles messages with it.
  /// It behaves as a received one: it owns the descriptors until they are taken.
  ///
  /// For a complete message a pair of sockets is as simple, and nearer to what happens:
  /// `UnixSeqpacket.makePair()`, one send and one receive. Use this function for messages that are
  /// hard to bring about, as one that was truncated, or that another user has sent.
  ///
  /// - Parameters:
  ///   - payload: The bytes.
  ///   - descriptors: The descriptors that the message brings.
  ///   - credentials: The sender, as with ``SocketOption/passCredentials``.
  ///   - process: The sender's process, as with ``SocketOption/passProcessDescriptor``.
  ///   - sender: The address that a datagram came from.
  ///   - control: Further control messages, as `Timestamp` or `PacketInfoV4`: append them to a
  ///     `ControlMessageBuffer`.
  ///   - flags: Flags of the message. Those for truncation follow from `outcome`.
  ///   - outcome: What is missing:
  ///     ``DeliveryStatus/forTesting(isPayloadTruncated:fullLength:controlTruncation:failures:surplus:refused:)``.
  public static func forTesting(
    _ payload: [UInt8] = [], descriptors: consuming OwnedFds = OwnedFds(),
    credentials: Credentials? = nil, process: consuming ProcessFd? = nil,
    sender: AnySocketAddress? = nil, control: ControlMessageBuffer = ControlMessageBuffer(),
    flags: ReceiveFlags = [], outcome: DeliveryStatus = .complete
  ) -> ReceivedMessage {
    var all = ControlMessageBuffer()
    if let credentials { all.append(credentials) }
    for other in control { all.append(other.message) }
    return ReceivedMessage(
      OperationOutcome(
        payload: payload, descriptors: descriptors, control: all, process: process, sender: sender,
        flags: flags.rawValue, missing: outcome),
      nil)
  }
}

extension DeliveryStatus {
  /// Makes the outcome of a message of which something is missing.
  ///
  /// - Parameters:
  ///   - isPayloadTruncated: The message was longer than the buffer.
  ///   - fullLength: How long it was, where the kernel has told it.
  ///   - controlTruncation: Why control data is missing, if any is.
  ///   - failures: Descriptors that the kernel replaced by an error.
  ///   - surplus: How many descriptors a policy closed because they were too many.
  ///   - refused: Descriptors that a policy closed because of what they are.
  public static func forTesting(
    isPayloadTruncated: Bool = false, fullLength: Int? = nil,
    controlTruncation: ControlTruncation? = nil,
    failures: [DescriptorFailure] = [], surplus: Int = 0, refused: [RefusedDescriptor] = []
  ) -> DeliveryStatus {
    var flags: ReceiveFlags = []
    if isPayloadTruncated || fullLength != nil { flags.insert(.payloadTruncated) }
    if controlTruncation != nil { flags.insert(.controlTruncated) }
    return DeliveryStatus(
      flags: flags.rawValue, failures: failures, loss: controlTruncation, surplus: surplus,
      refused: refused, fullLength: fullLength)
  }
}

extension DescriptorFailure {
  /// Makes the report of a descriptor that the kernel replaced by an error.
  public static func forTesting(position: Int, errno: Errno) -> DescriptorFailure {
    DescriptorFailure(position: position, slot: -errno.rawValue)
  }
}

extension RefusedDescriptor {
  /// Makes the report of a descriptor that a policy has closed.
  public static func forTesting(
    position: Int, facts: DescriptorFacts, reason: Reason
  ) -> RefusedDescriptor {
    RefusedDescriptor(position: position, facts: facts, reason: reason)
  }
}

extension SocketError {
  /// Makes an error as a call on a socket throws it, to test what a program does about it.
  public static func forTesting(
    _ code: Code, during operation: Operation, errno: Errno? = nil,
    address: AnySocketAddress? = nil, bytesSent: Int = 0, detail: String? = nil
  ) -> SocketError {
    SocketError(
      code, operation, errno: errno, address: address, bytesSent: bytesSent, detail: detail)
  }

  /// Makes the error that a receive throws for a message of which something is missing
  /// (``SocketError/Code/messageIncomplete``). It owns `message`.
  public static func forTesting(incomplete message: ReceivedMessage) -> SocketError {
    .messageIncomplete(message.outcome, keeping: message)
  }
}

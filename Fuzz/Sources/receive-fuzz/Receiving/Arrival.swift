// SPDX-License-Identifier: Apache-2.0
import MessageSockets
import SystemPackage

/// The result of a receive.
enum Arrival: Sendable {
  case message(ArrivedMessage)
  case end
  case failed(any Error)
}

/// The parts of a received message: its descriptors have been examined and closed.
struct ArrivedMessage: Sendable {
  enum Process: Sendable, Equatable {
    case none
    case file(UInt64)
    case failure(Errno)
  }

  var bytes: [UInt8]
  var byteCount: Int
  var files: [UInt64]
  var outcome: DeliveryStatus
  var control: ControlMessageBuffer
  /// Nil if the form of receiving does not report it.
  var process: Process?
  var flags: ReceiveFlags?
  var sender: AnySocketAddress?
  /// Whether it came in an error, because part of it is missing.
  var isThrown = false

  init(_ message: ReceivedMessage) {
    bytes = message.payload
    byteCount = message.byteCount
    outcome = message.outcome
    control = message.control
    flags = message.flags
    sender = message.sender
    files = []
    while let file = message.takeDescriptor() {
      files.append(file.withUnsafeFileDescriptor { NumberedFile.identify($0) })
    }
    check(
      files.count == message.descriptorCount,
      "a message has \(files.count) descriptors, and said \(message.descriptorCount)")
    do throws(Errno) {
      if let found = try message.takeProcess() {
        process = .file(found.withUnsafeFileDescriptor { NumberedFile.identify($0) })
      } else {
        process = Process.none
      }
    } catch { process = .failure(error) }
    readKinds(of: message)
  }

  init(_ parts: consuming ReceivedEnvelope, bytes: [UInt8]) {
    self.bytes = bytes
    byteCount = parts.byteCount
    outcome = parts.outcome
    control = parts.control
    files = []
    while let file = parts.descriptors.takeFirst() {
      files.append(file.withUnsafeFileDescriptor { NumberedFile.identify($0) })
    }
  }

  /// Decodes everything that came with the message as its declared kind.
  private func readKinds(of message: ReceivedMessage) {
    _ = message.securityLabel?.text
    _ = message.timestamp?.sinceEpoch
    _ = message.packetTimestamps
    _ = (
      message.bytesLeft, message.droppedMessages, message.hopLimit, message.trafficClass,
      message.segmentSize
    )
    _ = (message.packetInfoV4, message.packetInfoV6)
    _ = message.extendedError?.offender?.description
    _ = message.originalDestination?.address.description
    _ = message.outcome.description
    _ = (
      message.sender?.unix?.description, message.sender?.internet?.description,
      message.sender.map { "\($0)" }
    )
  }
}

// SPDX-License-Identifier: Apache-2.0
import Ancillary
import SystemPackage
import Testing

@Suite struct CredentialsTests {
  @Test func roundTrip() throws {
    var buffer = ControlMessageBuffer()
    let credentials = Credentials(processID: 4711, userID: 1000, groupID: .max)
    buffer.append(credentials)
    let decoded = try buffer.messages.first(Credentials.self)
    #expect(decoded == credentials)
  }

  @Test func kernelsUnknownIsNil() throws {
    var buffer = ControlMessageBuffer()
    buffer.append(Credentials(processID: nil, userID: nil, groupID: nil))
    #expect(
      buffer.bytes.suffix(16) == [0, 0, 0, 0, 0xFE, 0xFF, 0, 0, 0xFE, 0xFF, 0, 0, 0, 0, 0, 0])
    let decoded = try buffer.messages.first(Credentials.self)
    #expect(decoded == Credentials(processID: nil, userID: nil, groupID: nil))
  }

  /// A user without a number in this namespace appears as the overflow user, whatever the process.
  @Test func theOverflowNumbersAreNobodys() throws {
    func number(_ name: String) throws -> UInt32 {
      let file = try FileDescriptor.open(
        "/proc/sys/kernel/\(name)", .readOnly, options: .closeOnExec)
      defer { try? file.close() }
      var text = [UInt8](repeating: 0, count: 16)
      let count = unsafe try text.withUnsafeMutableBytes { try unsafe file.read(into: $0) }
      return try #require(
        UInt32(String(decoding: text[..<count], as: UTF8.self).prefix { $0.isNumber }))
    }
    let (user, group) = (try number("overflowuid"), try number("overflowgid"))
    var buffer = ControlMessageBuffer()
    buffer.append(Credentials(processID: 12, userID: user, groupID: group))
    let decoded = try buffer.messages.first(Credentials.self)
    #expect(decoded == Credentials(processID: 12, userID: nil, groupID: nil))
    var bytes = buffer.bytes
    unsafe bytes.withUnsafeMutableBytes { bytes in
      let received = unsafe ReceivedAncillary(takingFrom: bytes)
      #expect(received.credentials == decoded)
    }
    var others = ControlMessageBuffer()
    others.append(Credentials(processID: 12, userID: user ^ 1, groupID: group + 0x10000))
    let known = try others.messages.first(Credentials.self)
    #expect(known == Credentials(processID: 12, userID: user ^ 1, groupID: group + 0x10000))
  }

  /// Failed receive attempts leave zeroed credentials in front of those of the message.
  @Test func credentialsOfZerosInFrontAreNotTheMessages() {
    func start(_ parts: [[UInt8]]) -> Int {
      var control = RawControl()
      for part in parts { control.add(level: 1, type: part.count == 12 ? 2 : 1, payload: part) }
      return withSpan(control.bytes + [UInt8](repeating: 0, count: 64)) {
        ControlMessages.startOfLastCredentials(in: $0)
      }
    }
    let (zeros, sender, rights) = (
      [UInt8](repeating: 0, count: 12), [UInt8](repeating: 7, count: 12), [3, 0, 0, 0] as [UInt8]
    )
    #expect(start([]) == 0)
    #expect(start([sender, rights]) == 0)
    #expect(start([zeros, rights]) == 0)
    #expect(start([zeros]) == 0)
    #expect(start([zeros, sender, rights]) == 32)
    #expect(start([zeros, zeros, zeros, sender]) == 96)
    #expect(start([zeros, zeros, rights]) == 32)
    #expect(start([rights, zeros, sender]) == 0)
  }

  /// Twelve bytes are present, but the header promises more: the sender must not be guessed from a
  /// fragment.
  @Test func truncatedIsNotBelieved() {
    var control = RawControl()
    control.add(
      level: 1, type: 2, payload: [UInt8](repeating: 1, count: 12), statedLength: 40, padded: false)
    withSpan(control.bytes) { span in
      _ = #expect(throws: AncillaryError(code: .malformedData, actual: 12, limit: 12)) {
        _ = try ControlMessages(span).first(Credentials.self)
      }
    }
    unsafe control.bytes.withUnsafeMutableBytes { bytes in
      let received = unsafe ReceivedAncillary(takingFrom: bytes)
      #expect(received.credentials == nil)
    }
  }

  @Test(arguments: [0, 4, 11, 13, 16]) func otherLengthsThrow(_ length: Int) {
    var control = RawControl()
    control.add(level: 1, type: 2, payload: [UInt8](repeating: 0, count: length))
    withSpan(control.bytes) { span in
      _ = #expect(throws: AncillaryError(code: .malformedData, actual: length, limit: 12)) {
        _ = try ControlMessages(span).first(Credentials.self)
      }
    }
  }
}

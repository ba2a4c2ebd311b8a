// SPDX-License-Identifier: Apache-2.0
import Ancillary
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

  @Test func nobodyIsAUser() throws {
    var buffer = ControlMessageBuffer()
    buffer.append(Credentials(processID: 12, userID: 65534, groupID: 65534))
    let decoded = try buffer.messages.first(Credentials.self)
    #expect(decoded == Credentials(processID: 12, userID: 65534, groupID: 65534))
  }

  /// Twelve bytes are there, but the header promises more: who sent it is not to be guessed from a
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

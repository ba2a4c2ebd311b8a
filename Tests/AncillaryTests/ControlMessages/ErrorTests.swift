// SPDX-License-Identifier: Apache-2.0
import Ancillary
import SystemPackage
import Testing

@Suite struct ErrorTests {
  @Test func descriptionsSayByHowMuch() {
    #expect(
      "\(AncillaryError(code: .noCapacity, actual: 24, limit: 8))" == "noCapacity (24, limit 8)")
    #expect("\(AncillaryError(code: .wrongKind))" == "wrongKind")
    #expect("\(AncillaryError.systemCall(.brokenPipe))".hasPrefix("systemCall: "))
    #expect("\(AncillaryError.Code.descriptorCount)" == "descriptorCount")
  }

  @Test func codesAreToldApart() {
    let codes: Set<AncillaryError.Code> = [
      .noCapacity, .tooManyDescriptors, .malformedData, .wrongKind, .addressTooLong,
      .malformedAddress, .wrongFamily,
      .descriptorCount, .emptyPayload, .systemCall,
    ]
    #expect(codes.count == 10)
    #expect(AncillaryError.systemCall(.brokenPipe).errno == .brokenPipe)
    #expect(AncillaryError(code: .systemCall).errno == nil)
  }
}

// SPDX-License-Identifier: Apache-2.0
import Ancillary
import Testing

@Suite struct VsockAddressTests {
  static func decoded(_ bytes: [UInt8]) throws(AncillaryError) -> VsockAddress {
    try withSpan(bytes) { (span) throws(AncillaryError) in try VsockAddress(decoding: span) }
  }

  @Test func bytes() throws {
    let address = VsockAddress(VsockContextID(rawValue: 0x0A0B_0C0D), port: 0x0102_0304)
    let bytes = UnixAddressTests.encoded(address)
    #expect(bytes == [40, 0, 0, 0, 4, 3, 2, 1, 0x0D, 0x0C, 0x0B, 0x0A, 0, 0, 0, 0])
    #expect(try Self.decoded(bytes) == address)
    // The kernel sets a flag in the addresses of peers, and may return more bytes than there are.
    var flagged = bytes + [9]
    flagged[12] = 1
    #expect(try Self.decoded(flagged) == address)
  }

  @Test func namedNumbers() {
    #expect(VsockContextID.any.rawValue == .max)
    #expect(VsockContextID.hypervisor.rawValue == 0)
    #expect(VsockContextID.local.rawValue == 1)
    #expect(VsockContextID.host.rawValue == 2)
    #expect(VsockAddress.anyPort == .max)
  }

  @Test func brokenBytes() {
    #expect(throws: AncillaryError(code: .malformedAddress)) { try Self.decoded([]) }
    #expect(throws: AncillaryError(code: .malformedAddress, actual: 15, limit: 16)) {
      try Self.decoded([40, 0] + [UInt8](repeating: 0, count: 13))
    }
    #expect(throws: AncillaryError(code: .wrongFamily, actual: 2, limit: 40)) {
      try Self.decoded([2, 0] + [UInt8](repeating: 0, count: 14))
    }
  }

  @Test(arguments: ["vsock:0:0", "vsock:2:1024", "vsock:any:any", "vsock:3:4294967294"])
  func textBothWays(_ text: String) throws {
    #expect(try #require(VsockAddress(text)).description == text)
  }

  @Test(arguments: [
    "", "vsock", "vsock:2", "vsock::2", "vsock:2:", "vsock:2:1:1", "vsock:-1:1", "vsock:02:1",
    "vsock:4294967296:1", "2:1024", "VSOCK:2:1", "vsock:2: 1", "vsock:Any:1",
  ])
  func textThatIsNone(_ text: String) { #expect(VsockAddress(text) == nil) }

  @Test func anAddressOfAnyFamilyKnowsIt() {
    let address = VsockAddress(.host, port: 1024)
    let any = AnySocketAddress(address)
    #expect(any.family == 40)
    #expect(any.vsock == address)
    #expect(any.internet == nil && any.unix == nil)
    #expect(any.description == "vsock:2:1024")
    #expect(AnySocketAddress(UnixAddress.unnamed).vsock == nil)
  }

  @Test func contextsAsText() {
    #expect(VsockContextID("any") == .any)
    #expect(VsockContextID("3")?.rawValue == 3)
    #expect(VsockContextID("") == nil && VsockContextID("x") == nil)
    #expect(VsockContextID.host.description == "2")
  }
}

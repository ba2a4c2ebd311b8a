// SPDX-License-Identifier: Apache-2.0
import Ancillary

/// Decodes the bytes as a socket address of each family; a decoded address survives conversion to
/// bytes and text.
func decodeAddresses(_ bytes: RawSpan) {
  if let address = try? UnixAddress(decoding: bytes) {
    address.withSocketAddressBytes {
      check((try? UnixAddress(decoding: $0)) == address, "a Unix address changed in bytes")
    }
    check(UnixAddress(address.description) == address, "a Unix address changed in text")
    check(AnySocketAddress(address).unix == address, "a Unix address changed in one of any family")
  }
  if let address = try? InternetAddress(decoding: bytes) {
    address.withSocketAddressBytes {
      check((try? InternetAddress(decoding: $0)) == address, "an internet address changed in bytes")
    }
    check(
      AnySocketAddress(address).internet == address,
      "an internet address changed in one of any family")
    checkText(of: address)
  }
}

/// Parses the text as an address of each family; a parsed address survives being written.
func parseText(_ text: String) {
  if let address = UnixAddress(text) {
    check(UnixAddress(address.description) == address, "a Unix address changed in text")
  }
  if let address = InternetAddress(text) { checkText(of: address) }
}

private func checkText(of address: InternetAddress) {
  // The text has no flow label, nor a scope of 0.
  var plain = address
  plain.flowInfo = 0
  check(InternetAddress(address.description) == plain, "an internet address changed in text")
}

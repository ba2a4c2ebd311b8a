// SPDX-License-Identifier: Apache-2.0
/// The broker's answer: a status byte, followed by the unchanged request. If the status is
/// `opened`, one descriptor comes with it.
struct Reply: Equatable, Sendable {
  var status: Status
  var request: Request
}

extension Reply {
  var encoded: [UInt8] { [status.rawValue] + request.encoded }

  /// Nil if the bytes are no reply.
  init?(decoding bytes: [UInt8]) {
    guard let first = bytes.first, let status = Status(rawValue: first),
      let request = Request(decoding: Array(bytes.dropFirst()))
    else { return nil }
    self.init(status: status, request: request)
  }
}

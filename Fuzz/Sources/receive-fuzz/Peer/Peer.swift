// SPDX-License-Identifier: Apache-2.0
import CMessageSockets
import Glibc
import MessageSockets

/// The other end of a socket from its process's point of view: system calls, and what the receiver
/// must get from them.
final class Peer {
  /// -1 if it is closed.
  private var number: Int32
  private let input: Input
  private let sent: SentMessages
  private var offset = 0

  init(number: Int32, _ input: Input, _ sent: SentMessages) {
    self.number = number
    self.input = input
    self.sent = sent
  }

  /// Performs one action. `receiver` is the number of the socket that receives `sent`.
  func act(receiver: Int32) {
    switch input.number(0...15) {
    case 14: toggle(input.choose([16, 76]), on: receiver)
    case 13: if input.oneIn(4) { shutdown() }
    case 12: if input.oneIn(8) { close() }
    default: send()
    }
  }

  /// Toggles `SO_PASSCRED` or `SO_PASSPIDFD`.
  private func toggle(_ option: Int32, on receiver: Int32) {
    var value: Int32 = input.oneIn(2) ? 1 : 0
    _ = cms_set_option(receiver, 1, option, &value, 4)
  }

  func shutdown() {
    guard number >= 0, cms_shutdown(number, false, true) == 0 else { return }
    sent.isEnded = true
  }

  func close() {
    guard number >= 0 else { return }
    _ = cms_close(number)
    number = -1
    sent.isEnded = true
  }

  private func send() {
    guard number >= 0 else { return }
    var files: [NumberedFile] = []
    let count =
      input.oneIn(16)
      ? input.choose([40, 59, 60, 61, 253]) : input.oneIn(2) ? input.number(0...4) : 0
    for _ in 0..<count { files.append(NumberedFile()) }
    defer { for file in files { _ = cms_close(file.number) } }
    let size = input.oneIn(16) ? input.number(0...60_000) : input.number(0...100)
    let payload = (offset..<offset + size).map {
      UInt8(truncatingIfNeeded: $0 &* 0x9E37_79B1 >> 16)
    }
    let flags =
      cms_msg_dontwait | cms_msg_nosignal | input.choose([0, cms_msg_eor, 0x8000 /* MSG_MORE */])
    let result = send(payload, control(for: files.map(\.number)), flags)
    // A stream drops descriptors that come without a byte.
    guard result > 0 || result == 0 && sent.kind != .stream else { return }
    offset += result
    sent.add(Array(payload.prefix(result)), files.map(\.identity))
  }

  /// The descriptors in one record or two, which the kernel merges; with credentials before or
  /// after them.
  private func control(for numbers: [Int32]) -> [UInt8] {
    let split = numbers.count > 1 && input.oneIn(8) ? input.number(1...numbers.count - 1) : 0
    let parts =
      split > 0
      ? [Array(numbers[..<split]), Array(numbers[split...])] : numbers.isEmpty ? [] : [numbers]
    let rights = parts.flatMap { SimulatedControl.rights($0) }
    guard input.oneIn(8) else { return rights }
    let credentials = SimulatedControl.credentials(
      process: getpid(), user: getuid(), group: getgid())
    return input.oneIn(2) ? credentials + rights : rights + credentials
  }

  private func send(_ payload: [UInt8], _ control: [UInt8], _ flags: Int32) -> Int {
    var (payload, control) = (payload, control)
    return payload.withUnsafeMutableBytes { payload in
      control.withUnsafeMutableBytes { control in
        var vector = cms_iovec(base: payload.baseAddress, length: payload.count)
        return withUnsafeMutablePointer(to: &vector) { vector in
          var header = cms_msghdr()
          header.vectors = vector
          header.vector_count = 1
          header.control = control.baseAddress
          header.control_length = control.count
          return Int(cms_sendmsg(number, &header, flags))
        }
      }
    }
  }
}

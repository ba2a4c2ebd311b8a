// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets

/// A network interface, as the kernel lists it.
struct NetworkInterface: Equatable {
  var index: Int32
  var name: String

  /// Requests all interfaces (`RTM_GETLINK`, `NLM_F_DUMP`).
  static func all(on socket: NetlinkSocket) async throws -> [NetworkInterface] {
    try await socket.sendMessage(request)
    var found: [NetworkInterface] = []
    for try await message in socket.messages {
      guard message.sender?.family == AF_NETLINK else { continue }
      for record in NetlinkRecord.all(in: message.payload) {
        switch record.type {
        case NetlinkRecord.done: return found
        case NetlinkRecord.newLink:
          if let interface = NetworkInterface(record) { found.append(interface) }
        default: break
        }
      }
    }
    return found
  }

  /// `struct nlmsghdr`, and an empty `struct ifinfomsg`.
  private static var request: [UInt8] {
    let header = [
      UInt32(32), UInt32(NetlinkRecord.getLink) | NetlinkRecord.dumpRequest << 16, 1, 0,
    ]
    return header.flatMap { value in withUnsafeBytes(of: value) { Array($0) } }
      + [UInt8](repeating: 0, count: 16)
  }

  init(index: Int32, name: String) {
    self.index = index
    self.name = name
  }

  /// `struct ifinfomsg`, then attributes (`struct rtattr`).
  init?(_ record: NetlinkRecord) {
    guard record.body.count >= 16 else { return nil }
    index = Int32(bitPattern: record.body.integer(at: 4))
    for attribute in NetlinkRecord.attributes(in: record.body.dropFirst(16))
    where attribute.type == 3 {  // IFLA_IFNAME
      name = String(decoding: attribute.body.prefix { $0 != 0 }, as: UTF8.self)
      return
    }
    return nil
  }
}

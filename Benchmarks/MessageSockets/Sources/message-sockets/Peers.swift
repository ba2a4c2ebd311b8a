// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import MessageSockets
internal import SystemPackage

/// The far ends of connections, as plain descriptors.
struct Peers: Sendable {
  private(set) var descriptors: [FileDescriptor] = []

  mutating func connect(to address: UnixAddress, kind: SocketKind) throws {
    let type = kind == .stream ? SOCK_STREAM : SOCK_SEQPACKET
    let number = socket(AF_UNIX, Int32(type.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard number >= 0 else { throw Errno(rawValue: errno) }
    descriptors.append(FileDescriptor(rawValue: number))
    try address.withSocketAddressBytes { name in
      try name.withUnsafeBytes { bytes in
        let address = bytes.baseAddress!.assumingMemoryBound(to: sockaddr.self)
        guard Glibc.connect(number, address, socklen_t(bytes.count)) == 0 else {
          throw Errno(rawValue: errno)
        }
      }
    }
  }

  func close() throws {
    for descriptor in descriptors { try descriptor.close() }
  }
}

// SPDX-License-Identifier: Apache-2.0
internal import Glibc

/// Two connected Unix sockets, as plain descriptors, close-on-exec.
public func openSocketPair(_ kind: Kind) throws -> (near: Int32, far: Int32) {
  let type =
    switch kind {
    case .stream: SOCK_STREAM
    case .seqpacket: SOCK_SEQPACKET
    case .dgram: SOCK_DGRAM
    }
  var ends: [Int32] = [-1, -1]
  guard socketpair(AF_UNIX, Int32(type.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0, &ends) == 0
  else {
    throw Failure("socketpair: \(String(cString: strerror(errno)))")
  }
  return (ends[0], ends[1])
}

// SPDX-License-Identifier: Apache-2.0
import Ancillary
import Glibc
import SystemPackage
import Testing

/// A connected pair whose second end goes where the test sends it. When all copies of that end are
/// closed the first hangs up: proof of a close that does not depend on what other tests open at the
/// same time.
struct Canary: ~Copyable {
  let reader: OwnedFd
  private var writer: OwnedFd?

  init() {
    var pair = socketPair(.stream)
    reader = pair.takeFirst()!
    writer = pair.takeFirst()!
  }

  /// The second end, once.
  mutating func take() -> OwnedFd { writer.take()! }

  /// Whether every copy of the second end is closed. A fork elsewhere in the process may hold one
  /// for a moment, so this waits for it.
  func isReleased() -> Bool { hasHungUp(within: 5000) }

  /// Whether a copy of the second end is open right now.
  func isHeld() -> Bool { !hasHungUp(within: 0) }

  private func hasHungUp(within milliseconds: Int32) -> Bool {
    reader.withUnsafeFileDescriptor { descriptor in
      var entry = pollfd(fd: descriptor.rawValue, events: 0, revents: 0)
      return unsafe poll(&entry, 1, milliseconds) == 1 && entry.revents & Int16(POLLHUP) != 0
    }
  }
}

/// Several of them, one for each descriptor of a message.
struct Canaries: ~Copyable {
  var readers = OwnedFds()
  var writers = OwnedFds()

  init(_ count: Int) {
    for _ in 0..<count {
      var pair = socketPair(.stream)
      readers.append(pair.takeFirst()!)
      writers.append(pair.takeFirst()!)
    }
  }

  /// How many second ends are closed everywhere, after waiting for `expected` of them.
  func released(expecting expected: Int) -> Int {
    var entries: [pollfd] = []
    let span = readers.span
    for index in span.indices {
      entries.append(
        span[index].withUnsafeFileDescriptor { pollfd(fd: $0.rawValue, events: 0, revents: 0) })
    }
    var hungUp = 0
    repeat {
      let ready = unsafe poll(&entries, nfds_t(entries.count), hungUp < expected ? 5000 : 0)
      for index in entries.indices where entries[index].revents != 0 {
        precondition(
          entries[index].revents & Int16(POLLNVAL) == 0, "a test's own descriptor was closed")
        hungUp += 1
        entries[index].fd = -1
      }
      if ready <= 0 { break }
    } while true
    return hungUp
  }
}

extension OwnedFd {
  /// Tells one open file from another.
  var identity: FileIdentity { withUnsafeFileDescriptor { FileIdentity($0) } }
}

struct FileIdentity: Hashable {
  let device: UInt
  let inode: UInt

  init(_ descriptor: FileDescriptor) {
    var status = stat()
    precondition(unsafe fstat(descriptor.rawValue, &status) == 0)
    device = UInt(status.st_dev)
    inode = UInt(status.st_ino)
  }
}

/// The number alone, for bytes that are to look like the kernel's: the descriptor is given away and
/// lives in those bytes from now on.
func rawNumber(_ descriptor: consuming OwnedFd) -> Int32 { descriptor.release().rawValue }

enum SocketKind: CaseIterable, CustomTestStringConvertible {
  case stream, datagram, seqpacket

  var rawValue: Int32 {
    switch self {
    case .stream: Int32(bitPattern: SOCK_STREAM.rawValue)
    case .datagram: Int32(bitPattern: SOCK_DGRAM.rawValue)
    case .seqpacket: Int32(bitPattern: SOCK_SEQPACKET.rawValue)
    }
  }

  var testDescription: String { "\(self)" }
}

/// Two connected Unix-domain sockets.
func socketPair(_ kind: SocketKind) -> OwnedFds {
  var ends: [Int32] = [-1, -1]
  let result = unsafe socketpair(
    AF_UNIX, kind.rawValue | Int32(bitPattern: SOCK_CLOEXEC.rawValue), 0, &ends)
  precondition(result == 0, "socketpair: \(errno)")
  var pair = OwnedFds()
  for end in ends { pair.append(OwnedFd(adopting: FileDescriptor(rawValue: end))) }
  return pair
}

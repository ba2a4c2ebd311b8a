// SPDX-License-Identifier: Apache-2.0
import Ancillary
import Glibc
import SystemPackage
import Testing

/// A connected pair whose second end the test gives away. When all copies of that end are closed,
/// the first end hangs up. This proves the close, independently of descriptors that other tests
/// open in the meantime.
struct Canary: ~Copyable {
  let reader: OwnedFd
  private var writer: OwnedFd?

  init() {
    var pair = socketPair(.stream)
    reader = pair.takeFirst()!
    writer = pair.takeFirst()!
  }

  /// Takes the second end, once.
  mutating func take() -> OwnedFd { writer.take()! }

  /// Whether every copy of the second end is closed. Waits for that, because a fork elsewhere in
  /// the process may hold a copy for a moment.
  func isReleased() -> Bool { hasHungUp(within: 5000) }

  /// Whether a copy of the second end is open now.
  func isHeld() -> Bool { !hasHungUp(within: 0) }

  private func hasHungUp(within milliseconds: Int32) -> Bool {
    reader.withUnsafeFileDescriptor { descriptor in
      var entry = pollfd(fd: descriptor.rawValue, events: 0, revents: 0)
      return unsafe poll(&entry, 1, milliseconds) == 1 && entry.revents & Int16(POLLHUP) != 0
    }
  }
}

/// Several canaries, one for each descriptor of a message.
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

  /// How many second ends have no open copy; waits until `expected` of them do.
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
  /// Identifies the open file.
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

/// The raw number, for bytes that imitate the kernel's. Gives up ownership: from now on those bytes
/// represent the descriptor.
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

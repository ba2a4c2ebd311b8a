// SPDX-License-Identifier: Apache-2.0
import CMsock
import Glibc
import MessageSockets

/// A descriptor as listings show it.
struct Description: Codable, Equatable {
  var fd: Int32?
  var kind: String
  var access: [String]?
  var seals: [String]?
  /// The target in /proc: a path, or a name chosen by the kernel.
  var target: String?

  init(
    fd: Int32?, kind: String, access: [String]? = nil, seals: [String]? = nil, target: String? = nil
  ) {
    self.fd = fd
    self.kind = kind
    self.access = access
    self.seals = seals
    self.target = target
  }

  /// - Parameter number: The number to show, if its number in this process is irrelevant.
  init(_ file: borrowing OwnedFd, fd number: Int32? = nil) {
    let facts = file.facts
    self.init(
      fd: number, kind: Self.name(of: facts.kind), access: Self.words("\(facts.access)"),
      seals: facts.seals.map { Self.words("\($0)") },
      target: file.withUnsafeFileDescriptor { Self.target(of: getpid(), $0.rawValue) })
  }

  private static func name(of kind: DescriptorKind) -> String {
    guard case .socket(let family, let type) = kind,
      let family = [AF_UNIX: "unix", AF_INET: "IPv4", AF_INET6: "IPv6", AF_NETLINK: "netlink"][
        family],
      let type = [1: "stream", 2: "datagram", 3: "raw", 5: "seqpacket"][type]
    else { return kind.description }
    return "\(family) \(type) socket"
  }

  private static func words(_ text: String) -> [String] {
    text.split(separator: ", ").map { String($0.map { $0 == " " ? "-" : $0 }) }
  }

  /// The descriptor's target; nil if it is not visible.
  static func target(of process: Int32, _ number: Int32) -> String? {
    try? readTarget(of: process, number)
  }

  /// - Throws: `Errno`, such as `noSuchFileOrDirectory` and `permissionDenied`.
  static func readTarget(of process: Int32, _ number: Int32) throws(Errno) -> String {
    var text = [CChar](repeating: 0, count: 4096)
    // SAFETY: the array outlives the call, which writes at most this many bytes.
    let length = unsafe msock_descriptor_text(process, number, &text, UInt32(text.count))
    guard length >= 0 else { throw Errno(rawValue: -length) }
    return String(decoding: text[..<Int(length)].map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  static let header = ["FD", "KIND", "ACCESS", "SEALS", "TARGET"]

  var row: [String] {
    [
      fd.map { "\($0)" } ?? "-", kind, access.map { Self.list($0) } ?? "?",
      seals.map { Self.list($0) } ?? "-", target ?? "",
    ]
  }

  private static func list(_ words: [String]) -> String {
    words.isEmpty ? "none" : words.joined(separator: ",")
  }

  /// A description in one line, for received descriptors.
  var line: String {
    var line = "\(kind) (\(access.map { Self.list($0) } ?? "?")"
    if let seals { line += ", sealed against \(Self.list(seals))" }
    return line + ")" + (target.map { " \($0)" } ?? "")
  }
}

// SPDX-License-Identifier: Apache-2.0
public import Ancillary
internal import CMessageSockets
internal import SocketEngine

/// The process at the other end of a Unix connection, as the kernel recorded it when the connection
/// was made: the process that connected, or that called listen(2). Of a pair made by
/// ``UnixConnection/makePair(on:)`` both ends are this process. Of a vsock connection only
/// ``contextID`` is known.
///
/// The process may have changed its user since, have handed the socket on, or have ended. What is
/// not known is nil.
public struct PeerIdentity: Sendable, Hashable {
  /// The process, in our PID namespace; nil if that does not have it. Numbers are reused: see
  /// ``UnixConnection/peerProcess()``.
  public let processID: Int32?
  /// The user. The C name is `SO_PEERCRED`.
  ///
  /// Nil also for a user without a number in our user namespace, as seen from a container. The
  /// kernel shows all of these as its overflow user (`kernel.overflowuid`, 65534 by default, read
  /// for each identity); a real user of that number cannot be told apart from them.
  public let userID: UInt32?
  /// The group; nil also for one without a number in our user namespace (`kernel.overflowgid`).
  public let groupID: UInt32?
  /// The supplementary groups, sorted as the kernel has them, without those that have no number in
  /// our user namespace. The C name is `SO_PEERGROUPS`, Linux 4.13.
  public let supplementaryGroups: [UInt32]?
  /// The security label, where a security module labels sockets. The C name is `SO_PEERSEC`.
  public let securityLabel: SecurityLabel?
  /// The machine at the other end of a vsock connection; nil for other sockets.
  public let contextID: VsockContextID?

  public init(
    processID: Int32?, userID: UInt32?, groupID: UInt32?, supplementaryGroups: [UInt32]? = nil,
    securityLabel: SecurityLabel? = nil, contextID: VsockContextID? = nil
  ) {
    self.processID = processID
    self.userID = userID
    self.groupID = groupID
    self.supplementaryGroups = supplementaryGroups
    self.securityLabel = securityLabel
    self.contextID = contextID
  }

  /// Whether the peer's group or one of its supplementary groups is `group`.
  public func isMember(of group: UInt32) -> Bool {
    groupID == group || supplementaryGroups?.contains(group) ?? false
  }

  /// Asks the kernel about a socket's peer, with system calls that never wait.
  init(ofPeerOf number: Int32) {
    // SAFETY: the kernel has written the bytes, and the array outlives the span.
    let credentials = PeerOption.credentials.bytes(number).flatMap { bytes in
      unsafe try? Credentials(decoding: bytes.span.bytes)
    }
    processID = credentials?.processID
    // A socket without a peer reports the user -1.
    let isKnown = credentials.map { $0.userID != .max } ?? false
    userID = isKnown ? credentials?.userID : nil
    groupID = isKnown ? credentials?.groupID : nil
    supplementaryGroups = PeerOption.groups.bytes(number).map { bytes in
      // SAFETY: reads only whole numbers inside the array.
      let groups = unsafe bytes.withUnsafeBytes { raw in
        (0..<raw.count / 4).map {
          unsafe raw.loadUnaligned(fromByteOffset: $0 * 4, as: UInt32.self)
        }
      }
      // Read only once: there may be tens of thousands of groups, and all are from one moment.
      let overflow = cms_overflow_group()
      return groups.filter { $0 != overflow }
    }
    securityLabel = PeerOption.label.bytes(number).map {
      SecurityLabel(bytes: $0.last == 0 ? Array($0.dropLast()) : $0)
    }
    // A Unix connection has credentials, so its address need not be asked for.
    contextID =
      isKnown ? nil : (try? AnySocketAddress.peer(of: number))?.vsock?.context
  }
}

extension PeerIdentity: CustomStringConvertible {
  /// A text for logs: `process 4711, user 1000, group 1000, groups 4 27`; of a vsock connection
  /// `context 3`.
  public var description: String {
    if let contextID { return "context \(contextID)" }
    func text<ID>(_ id: ID?) -> String { id.map { "\($0)" } ?? "unknown" }
    var parts = ["process \(text(processID))", "user \(text(userID))", "group \(text(groupID))"]
    if let supplementaryGroups, !supplementaryGroups.isEmpty {
      parts.append("groups " + supplementaryGroups.map { "\($0)" }.joined(separator: " "))
    }
    if let securityLabel { parts.append("label \(securityLabel)") }
    return parts.joined(separator: ", ")
  }
}

/// The socket-level options that describe the peer. An option that is not supported reads as nil.
enum PeerOption: Int32 {
  case credentials = 17  // SO_PEERCRED
  case label = 31  // SO_PEERSEC
  case groups = 59  // SO_PEERGROUPS
  case process = 77  // SO_PEERPIDFD

  func bytes(_ number: Int32) -> [UInt8]? {
    var length: UInt32 = 256
    while true {
      var bytes = [UInt8](repeating: 0, count: Int(length))
      // SAFETY: the kernel writes at most `length` bytes, the size of the array.
      let result = unsafe bytes.withUnsafeMutableBytes {
        unsafe cms_get_option(number, cms_sol_socket, rawValue, $0.baseAddress, &length)
      }
      if result == 0 { return Array(bytes.prefix(Int(length))) }
      // ERANGE comes with the length that is needed: 65,536 groups at most.
      guard result == -34, length > bytes.count, length <= 1 << 20 else { return nil }
    }
  }
}

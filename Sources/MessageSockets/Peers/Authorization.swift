// SPDX-License-Identifier: Apache-2.0
public import Ancillary
internal import CMessageSockets
internal import SocketEngine
internal import SystemPackage

/// A rule for the peers that may connect to a listener. It is applied to each connection when it is
/// accepted, before a byte of it is read.
/// ```swift
/// let listener = try UnixListener<UnixStream>.bind(
///   to: address, authorization: .users([1000, 1001]).reporting { refusal in logger.warning("\(refusal)") })
/// ```
public struct Authorization: Sendable {
  private enum Rule: Sendable {
    case anyone, sameUser
    case users(Set<UInt32>)
    case contexts(Set<VsockContextID>)
    case custom(@Sendable (PeerIdentity) async throws -> Bool)
  }

  private let rule: Rule
  private var report: @Sendable (PeerRefusal) -> Void = { _ in }

  private init(_ rule: Rule) { self.rule = rule }

  /// Admits every peer that can connect. File permissions still apply to a path; every process in
  /// the network namespace can connect to an abstract address, every machine that a transport
  /// reaches to a vsock listener. Combine it with a ``ReceivePolicy``.
  public static var anyone: Authorization { Authorization(.anyone) }

  /// Admits processes of this process's effective user and of root, which could become that user
  /// anyway. A peer whose user is unknown is refused; so is a user without a number in this user
  /// namespace: ``PeerIdentity/userID``.
  public static var sameUser: Authorization { Authorization(.sameUser) }

  /// Admits processes of these users and no others: root and this process's own user only if they
  /// are in the set. A user without a number in this user namespace is refused, even if the set has
  /// the number that the kernel shows instead: ``PeerIdentity/userID``.
  public static func users(_ users: Set<UInt32>) -> Authorization { Authorization(.users(users)) }

  /// Admits vsock connections of these machines and no others, and no connections of other
  /// families.
  public static func contexts(_ contexts: Set<VsockContextID>) -> Authorization {
    Authorization(.contexts(contexts))
  }

  /// Admits the peers for which `decide` returns `true`. If it throws, the peer is refused and the
  /// error is reported. Return quickly: the next connection is not accepted until `decide` returns.
  public static func custom(_ decide: @escaping @Sendable (PeerIdentity) async throws -> Bool)
    -> Authorization
  {
    Authorization(.custom(decide))
  }

  /// This rule, with `report` called for each peer that is refused. It is called on the listener's
  /// loop: do not block.
  public func reporting(_ report: @escaping @Sendable (PeerRefusal) -> Void) -> Authorization {
    var copy = self
    copy.report = report
    return copy
  }

  /// Decides about the peer of a socket.
  ///
  /// - Throws: `CancellationError` if the task was cancelled in the meantime.
  nonisolated(nonsending) func admits(_ descriptor: borrowing OwnedFd) async throws -> Bool {
    if case .anyone = rule { return true }
    let peer = PeerIdentity(ofPeerOf: descriptor.withUnsafeFileDescriptor { $0.rawValue })
    do {
      if try await admits(peer) { return true }
      report(PeerRefusal(peer: peer, error: nil))
    } catch {
      if Task.isCancelled { throw CancellationError() }
      report(PeerRefusal(peer: peer, error: error))
    }
    return false
  }

  private nonisolated(nonsending) func admits(_ peer: PeerIdentity) async throws -> Bool {
    switch rule {
    case .anyone: return true
    case .sameUser: return Self.isSameUser(peer.userID, as: cms_effective_user())
    case .users(let users): return peer.userID.map(users.contains) ?? false
    case .contexts(let contexts): return peer.contextID.map(contexts.contains) ?? false
    case .custom(let decide): return try await decide(peer)
    }
  }

  static func isSameUser(_ user: UInt32?, as ours: UInt32) -> Bool {
    guard let user else { return false }
    return user == ours || user == 0
  }
}

/// A connection that was closed because its peer was not authorized.
public struct PeerRefusal: Sendable {
  public let peer: PeerIdentity
  /// The error that the authorization threw; nil if it refused without an error.
  public let error: (any Error)?
}

extension PeerRefusal: CustomStringConvertible {
  /// A text for logs, on one line, whatever the error's own text is:
  /// `refused a connection of process 4711, user 1000, group 1000`.
  public var description: String {
    ("refused a connection of \(peer)" + (error.map { ": \($0)" } ?? "")).visible
  }
}

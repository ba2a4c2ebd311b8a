// SPDX-License-Identifier: Apache-2.0
public import Ancillary
internal import CMessageSockets

/// A rule of a ``ReceivePolicy``: one kind of descriptor that a peer may send, and how it may be
/// open.
/// ```swift
/// .regularFile.requiring(.read).forbidding(.write)
/// .memoryFile(sealed: [.shrink, .grow])
/// .socket(family: .unix, kind: .stream)
/// ```
/// `O_PATH` descriptors are refused unless a rule asks for ``DescriptorAccess/pathOnly``: the
/// receiver of one may be able to open the file behind it with rights that the sender does not
/// have.
public struct AllowedDescriptor: Sendable, Hashable {
  private enum Pattern: Hashable {
    case any, regularFile, directory, characterDevice, blockDevice, pipe
    case memoryFile(FileSeals)
    case device(DescriptorKind)
    case socket(family: Int32?, type: Int32?)
    case kernelObject(String)
  }

  private let pattern: Pattern
  private var required: DescriptorAccess = []
  private var forbidden: DescriptorAccess = .pathOnly

  private init(_ pattern: Pattern) { self.pattern = pattern }

  /// Any kind, also one that the kernel does not tell: for a rule about access alone.
  public static var any: AllowedDescriptor { AllowedDescriptor(.any) }
  /// ``DescriptorKind/regularFile``.
  public static var regularFile: AllowedDescriptor { AllowedDescriptor(.regularFile) }
  /// ``DescriptorKind/directory``. One that leads out of a sandbox is a way out of it.
  public static var directory: AllowedDescriptor { AllowedDescriptor(.directory) }
  /// ``DescriptorKind/pipe``, FIFOs too.
  public static var pipe: AllowedDescriptor { AllowedDescriptor(.pipe) }
  /// Any character device.
  public static var characterDevice: AllowedDescriptor { AllowedDescriptor(.characterDevice) }
  /// Any block device.
  public static var blockDevice: AllowedDescriptor { AllowedDescriptor(.blockDevice) }

  /// ``DescriptorKind/memoryFile`` with at least these seals.
  public static func memoryFile(sealed seals: FileSeals = []) -> AllowedDescriptor {
    AllowedDescriptor(.memoryFile(seals))
  }

  /// One character device: `/dev/null` is 1, 3.
  public static func characterDevice(major: UInt32, minor: UInt32) -> AllowedDescriptor {
    AllowedDescriptor(.device(.characterDevice(major: major, minor: minor)))
  }

  /// A socket, by family and type; nil admits all.
  public static func socket(family: SocketFamily? = nil, kind: SocketKind? = nil)
    -> AllowedDescriptor
  {
    AllowedDescriptor(.socket(family: family?.rawValue, type: kind?.type))
  }

  /// An object of the kernel's, by the name of ``DescriptorKind/kernelObject(_:)``: `eventfd`,
  /// `pidfd`, `eventpoll` …
  public static func kernelObject(_ name: String) -> AllowedDescriptor {
    AllowedDescriptor(.kernelObject(name))
  }

  /// Returns this rule, limited to descriptors that permit all of `access`.
  public func requiring(_ access: DescriptorAccess) -> AllowedDescriptor {
    var rule = self
    rule.required.formUnion(access)
    rule.forbidden.subtract(access)
    return rule
  }

  /// Returns this rule, limited to descriptors that permit none of `access`.
  public func forbidding(_ access: DescriptorAccess) -> AllowedDescriptor {
    var rule = self
    rule.forbidden.formUnion(access)
    return rule
  }

  /// Returns the reason why the rule does not admit a descriptor, or nil if it admits it.
  func violation(by facts: DescriptorFacts) -> RefusedDescriptor.Reason? {
    guard matches(facts.kind) else { return .kind }
    guard facts.access.isSuperset(of: required), facts.access.isDisjoint(with: forbidden) else {
      return .access
    }
    if case .memoryFile(let seals) = pattern, !(facts.seals ?? []).isSuperset(of: seals) {
      return .seals
    }
    return nil
  }

  private func matches(_ kind: DescriptorKind) -> Bool {
    switch (pattern, kind) {
    case (.any, _), (.regularFile, .regularFile), (.memoryFile, .memoryFile),
      (.directory, .directory), (.pipe, .pipe):
      true
    case (.characterDevice, .characterDevice), (.blockDevice, .blockDevice): true
    case (.device(let one), _): one == kind
    case (.socket(let family, let type), .socket(let itsFamily, let itsType)):
      family ?? itsFamily == itsFamily && type ?? itsType == itsType
    case (.kernelObject(let name), .kernelObject(let itsName)): name == itsName
    default: false
    }
  }
}

/// A socket's address family. The C name is `SO_DOMAIN`.
public struct SocketFamily: RawRepresentable, Sendable, Hashable {
  public let rawValue: Int32
  public init(rawValue: Int32) { self.rawValue = rawValue }

  /// `AF_UNIX`.
  public static var unix: SocketFamily { SocketFamily(rawValue: cms_family_unix) }
  /// `AF_INET`.
  public static var internetV4: SocketFamily { SocketFamily(rawValue: cms_family_internet_v4) }
  /// `AF_INET6`.
  public static var internetV6: SocketFamily { SocketFamily(rawValue: cms_family_internet_v6) }
  /// `AF_VSOCK`.
  public static var vsock: SocketFamily { SocketFamily(rawValue: cms_family_vsock) }
}

/// A descriptor that a peer sent and the ``ReceivePolicy`` does not admit. It has been closed.
public struct RefusedDescriptor: Sendable, Hashable {
  /// Its place in the message, counted from 0, as it was sent.
  public let position: Int
  /// The facts that were read about it, such as its kind.
  public let facts: DescriptorFacts
  /// The reason for the refusal.
  public let reason: Reason

  package init(position: Int, facts: DescriptorFacts, reason: Reason) {
    self.position = position
    self.facts = facts
    self.reason = reason
  }

  public enum Reason: String, Sendable {
    /// No rule admits this kind.
    case kind = "not of a kind that is admitted"
    /// A rule admits the kind, but it may be read, written, or only named, other than the rule
    /// says.
    case access = "opened in a way that is not admitted"
    /// A rule admits it, but with more seals.
    case seals = "not sealed as is required"
  }
}

extension RefusedDescriptor: CustomStringConvertible {
  public var description: String { "descriptor \(position), a \(facts), is \(reason.rawValue)" }
}

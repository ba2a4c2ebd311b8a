// SPDX-License-Identifier: Apache-2.0
internal import DequeModule
public import MessageSockets
internal import SocketEngine
internal import SystemPackage

/// Descriptors with names, as processes hand them to each other: what a service manager has passed
/// (``Activation``), what a child gets (``ServiceCommand``), what a successor takes over
/// (``HandOver``).
/// ```swift
/// var passed = try Activation.takeDescriptors()
/// let web: TCPListener = try passed.takeListener(named: "web")
/// let control: UnixListener<UnixSeqpacket> = try passed.takeListener(named: "control")
/// ```
/// Each is owned here until it is taken. Those that are left close at the end of this value;
/// ``names`` says which, for the log.
/// Several may have the same name: they are taken in the order in which they came.
public struct NamedDescriptors: ~Copyable, Sendable {
  struct Entry: Sendable {
    var name: String
    /// The file of a socket that is bound to a path, if it must be removed at the end.
    var file: SocketFileOwnership?
    /// Whether the file is removed together with a descriptor that is not taken, because no socket
    /// in this process owns it.
    var ownsFile = false
  }

  private(set) var entries: Deque<Entry> = []
  private var descriptors = OwnedFds()
  /// Why there are none, for errors about unknown names.
  var absence: String?

  /// No descriptors.
  public init() {}

  deinit {
    for entry in entries where entry.ownsFile { entry.file?.socketEnds() }
  }

  /// How many are left.
  public var count: Int { entries.count }

  /// Whether none is left.
  public var isEmpty: Bool { entries.isEmpty }

  /// The names of those that are left, in order, each as often as it occurs.
  public var names: [String] { entries.map(\.name) }

  /// All that are left, in the order of ``names``, borrowed.
  public var span: Span<OwnedFd> {
    @_lifetime(borrow self)
    borrowing get { descriptors.span }
  }

  /// Adds a descriptor behind the others, and takes it over.
  ///
  /// - Parameters:
  ///   - descriptor: An open descriptor of any kind.
  ///   - name: 1 to 255 characters of ASCII, none of them a colon or a control character, as
  ///     systemd has it.
  /// - Throws: ``ServiceError``: `invalidName`; then the descriptor is closed.
  public mutating func append(_ descriptor: consuming OwnedFd, named name: String)
    throws(ServiceError)
  {
    try Self.check(name)
    append(descriptor, Entry(name: name))
  }

  /// Adds a second descriptor for a socket or listener that stays in use here, to pass it on while
  /// it serves. A file that it is bound to goes with it: a successor that takes the socket over
  /// removes the file at the end, and this process does not.
  ///
  /// - Throws: ``ServiceError``: `invalidName`; ``SocketError``: `closed`,
  ///   `outOfDescriptors`.
  public mutating func append(duplicateOf socket: some LoopSocket, named name: String) async throws
  {
    try Self.check(name)
    let descriptor = try await socket.duplicate()
    append(descriptor, Entry(name: name, file: socket.channel.fileOwnership))
  }

  mutating func append(_ descriptor: consuming OwnedFd, _ entry: Entry) {
    descriptors.append(descriptor)
    entries.append(entry)
  }

  /// Gives away the first descriptor of that name. The package no longer removes the file of a
  /// socket that is bound to a path: where the file is to be removed at the end, take the socket
  /// instead (``takeListener(named:of:authorization:policy:on:connectionsOn:)``).
  ///
  /// - Throws: ``ServiceError``: `unknownName`, with the names that there are.
  public mutating func takeDescriptor(named name: String) throws(ServiceError) -> OwnedFd {
    let index = try index(of: name)
    entries.remove(at: index)
    return descriptors.remove(at: index)
  }

  /// Gives away the first descriptor that is left; nil when there is none. Its name was the first
  /// of ``names``.
  public mutating func takeFirst() -> OwnedFd? {
    if isEmpty { return nil }
    entries.removeFirst()
    return descriptors.takeFirst()
  }

  /// Moves all descriptors of `others` behind the others.
  public mutating func append(contentsOf others: consuming NamedDescriptors) {
    while let descriptor = others.descriptors.takeFirst() { descriptors.append(descriptor) }
    entries += others.entries
    others.entries = []
  }

  /// Closes the first `count` descriptors, which another process now has.
  mutating func closeFirst(_ count: Int) {
    for _ in 0..<count { _ = descriptors.takeFirst() }
    entries.removeFirst(count)
  }

  func index(of name: String) throws(ServiceError) -> Int {
    guard let index = entries.firstIndex(where: { $0.name == name }) else {
      let others =
        isEmpty
        ? absence ?? "there are none left"
        : "there are: \(Set(names).sorted().joined(separator: ", "))"
      throw ServiceError(.unknownName, "no descriptor is named \(name); \(others)")
    }
    return index
  }

  static func check(_ name: String) throws(ServiceError) {
    guard (1...255).contains(name.utf8.count),
      name.utf8.allSatisfy({ (0x20..<0x7F).contains($0) && $0 != UInt8(ascii: ":") })
    else {
      throw ServiceError(
        .invalidName, "\(name.prefix(64).debugDescription) is not a valid name for a descriptor")
    }
  }
}

// SPDX-License-Identifier: Apache-2.0
internal import MessageSockets
internal import SocketEngine
internal import SystemPackage

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// The successor's side of a hand-over: its dealings with the predecessor.
struct Successor: Sendable {
  let link: HandOverLink
  let limits: HandOverLimits
  let observer: @Sendable (HandOverEvent) -> Void
  let process: OtherProcess

  /// Takes over everything from the predecessor. Nil if the predecessor has ended before it sent
  /// anything.
  ///
  /// - Throws: ``ServiceError``; the connection is then closed.
  static func takeOver(from link: HandOverLink, _ settings: HandOverSettings) async throws
    -> FoundControl?
  {
    var arrivals = TakenOver(limits: settings.limits)
    var successor: Successor?
    do {
      settings.observer(.predecessorFound)
      try await link.send(
        .hello(
          protocolVersion: HandOverMessage.protocolVersion, stateVersion: settings.stateVersion),
        within: settings.limits.step)
      settings.observer(.helloSent)
      let offer = try await link.next(within: settings.limits.step, for: "offer")
      successor = try Successor(link, offer, settings)
      try arrivals.begin(offer.message)
      settings.observer(.offerReceived)
      while !arrivals.isComplete {
        let arrival = try await link.next(within: settings.limits.step, for: "descriptors or state")
        guard let count = try arrivals.add(arrival) else { continue }
        settings.observer(.batchReceived(count))
        try await link.send(.received(UInt32(count)), within: settings.limits.step)
      }
      settings.observer(.everythingReceived)
    } catch let error as ServiceError where error.code == .predecessorEnds {
      await link.socket.close()
      successor = nil
      settings.observer(.predecessorEnded)
    } catch let error as ServiceError where error.code == .peerEnded {
      await link.socket.close()
      if let process = successor?.process,
        try await !process.ends(within: settings.limits.step, on: settings.loop)
      {
        throw error
      }
      successor = nil
      settings.observer(.predecessorEnded)
    } catch {
      await link.refuse(refusal(error), "\(error)")
      await link.socket.close()
      throw error
    }
    return try arrivals.found(settings, successor)
  }

  /// The reason to send for an error. `.ending` is reserved for predecessors, so a cancelled
  /// successor sends `.other`.
  private static func refusal(_ error: any Error) -> HandOverRefusal {
    error is CancellationError ? .other : HandOverRefusal(error)
  }

  private init(_ link: HandOverLink, _ offer: HandOverLink.Arrival, _ settings: HandOverSettings)
    throws
  {
    self.link = link
    limits = settings.limits
    observer = settings.observer
    // Without this check, any process that has bound the address could send us anything and observe
    // how we use it.
    guard let user = offer.received.credentials?.userID, user == geteuid() || user == 0 else {
      throw ServiceError(
        .notAuthorized, "the process that listens at \(settings.address) belongs to another user")
    }
    process = try OtherProcess(senderOf: offer.received)
  }

  /// Returns when this process may serve: true if the predecessor tells it to, false if the
  /// predecessor has ended.
  ///
  /// - Throws: ``ServiceError``: `refused`, `timedOut`, `peerEnded` (the predecessor has closed the
  ///   connection but has not ended), `malformedMessage`. The predecessor was then notified, and
  ///   the connection is closed.
  func becomeReady() async throws -> Bool {
    do {
      if try await waitForGo() { return true }
      observer(.predecessorEnded)
      await link.socket.close()
      return false
    } catch {
      // Necessary even if "go" is already on its way.
      await giveUp(Self.refusal(error), "\(error)")
      throw error
    }
  }

  private func waitForGo() async throws -> Bool {
    do {
      try await link.send(.ready, within: limits.step)
      observer(.readySent)
      guard case .go = try await link.next(within: limits.step, for: "permission to begin").message
      else {
        throw HandOverMessage.malformed("another one than go")
      }
      observer(.goReceived)
      return true
    } catch let error as ServiceError where error.code == .peerEnded {
      guard try await process.ends(within: limits.step, on: link.socket.loop) else { throw error }
      return false
    } catch let error as ServiceError where error.code == .predecessorEnds {
      return false
    }
  }

  /// Tells the predecessor that nothing is served here, whatever the predecessor has sent.
  func giveUp(_ reason: HandOverRefusal, _ text: String) async {
    await link.refuse(reason, text)
    await link.socket.close()
  }

  /// Tells the predecessor that connections are accepted here. Returns false if the task was
  /// cancelled and the predecessor was not notified.
  func announce() async -> Bool {
    do {
      try await link.send(.serving, within: limits.step)
      observer(.servingSent)
    } catch is CancellationError {
      return false
    } catch {
      // The predecessor has ended or no longer reads; the next call reports that.
    }
    return true
  }

  /// Waits until the predecessor ends.
  func follow() async {
    do {
      // Wait however long it takes to drain; the predecessor has its own limits.
      guard case .drained = try await link.next(within: .seconds(1 << 30), for: "end").message
      else {
        throw HandOverMessage.malformed("another one than drained")
      }
      observer(.predecessorDrained)
    } catch {
      if !(error is CancellationError) { observer(.predecessorEnded) }
    }
    await link.socket.close()
  }
}

/// The items that have arrived from a predecessor so far.
private struct TakenOver: ~Copyable {
  private let limits: HandOverLimits
  private var wantedDescriptors = 0
  private var wantedState = 0
  private var count = 0
  private var control: OwnedFd?
  private var controlFile: SocketFileOwnership?
  private var files: [SocketFileOwnership] = []
  private var items = HandOverItems()

  init(limits: HandOverLimits) { self.limits = limits }

  var isComplete: Bool { count == wantedDescriptors && items.state.count == wantedState }

  mutating func begin(_ message: HandOverMessage) throws(ServiceError) {
    guard case .offer(let version, let descriptors, let stateLength) = message else {
      throw HandOverMessage.malformed("\(message.name) instead of an offer")
    }
    guard version == HandOverMessage.protocolVersion else {
      throw ServiceError(.wrongVersion, "the predecessor speaks version \(version) of the protocol")
    }
    // The first descriptor is the control listener.
    guard (1...UInt32(clamping: limits.descriptors)).contains(descriptors),
      stateLength <= limits.stateLength
    else {
      throw ServiceError(
        .limitExceeded,
        "\(descriptors) descriptors and \(stateLength) bytes of state; \(limits.descriptors) and \(limits.stateLength) are admitted"
      )
    }
    wantedDescriptors = Int(descriptors)
    wantedState = Int(stateLength)
  }

  /// - Returns: How many descriptors have arrived and must be acknowledged; nil if the message
  ///   brought bytes of the state.
  mutating func add(_ arrival: HandOverLink.Arrival) throws(ServiceError) -> Int? {
    switch arrival.message {
    case .state(let bytes):
      guard !bytes.isEmpty, bytes.count <= wantedState - items.state.count else {
        throw HandOverMessage.malformed("more state than was announced")
      }
      items.state += bytes
      return nil
    case .batch(let first, let entries):
      guard first == count, entries.count <= wantedDescriptors - count else {
        throw HandOverMessage.malformed("a batch that is out of turn")
      }
      var descriptors = arrival.received.takeDescriptors()
      for entry in entries {
        guard let descriptor = descriptors.takeFirst() else {
          throw HandOverMessage.malformed("a batch without its descriptors")
        }
        try add(descriptor, entry)
      }
      return count
    default:
      throw HandOverMessage.malformed("\(arrival.message.name) instead of descriptors or state")
    }
  }

  private mutating func add(_ descriptor: consuming OwnedFd, _ entry: HandOverEntry)
    throws(ServiceError)
  {
    guard entry.name.isEmpty == (count == 0) else {
      throw HandOverMessage.malformed("a nameless descriptor at position \(count)")
    }
    let file = Self.file(of: descriptor, entry)
    if let file { files.append(file) }
    if count == 0 {
      control = consume descriptor
      controlFile = file
    } else {
      items.descriptors.append(
        descriptor, NamedDescriptors.Entry(name: entry.name, file: file, ownsFile: true))
    }
    count += 1
  }

  /// The path that the socket reports as its own address; a relative path is resolved against our
  /// working directory. The file is removed only if its identity matches.
  private static func file(of descriptor: borrowing OwnedFd, _ entry: HandOverEntry)
    -> SocketFileOwnership?
  {
    guard let numbers = entry.file,
      let name = try? AnySocketAddress.local(
        of: descriptor.withUnsafeFileDescriptor({ $0.rawValue })), let path = name.unix?.path
    else { return nil }
    return SocketFileOwnership(
      path: path, identity: FileIdentity(socketOnDevice: numbers[0], inode: numbers[1]),
      owner: .undecided)
  }

  /// The result of the hand-over; nil if not even the control listener has arrived.
  consuming func found(_ settings: HandOverSettings, _ predecessor: Successor?) throws
    -> FoundControl?
  {
    guard let descriptor = control.take() else { return nil }
    let control = try UnixListener<UnixSeqpacket>(
      adopting: descriptor, boundTo: controlFile.map { SocketFile($0) },
      authorization: settings.authorization, policy: .noDescriptors, on: settings.loop,
      connectionsOn: nil)
    var found = FoundControl(control)
    found.isSuccessor = true
    found.isComplete = isComplete
    found.predecessor = predecessor
    found.files = files
    swap(&found.items, &items)
    return found
  }
}

// SPDX-License-Identifier: Apache-2.0
public import MessageSockets
internal import SocketEngine
internal import Synchronization

/// Replaces a running process by a new one, which takes over its listeners and connections, so that
/// no connection is refused, lost or answered twice. Also known as hot restart, or graceful
/// upgrade.
///
/// Every process of a service begins in the same way. The first one finds no process at the control
/// address, and listens there. Each later one finds its predecessor, and receives its listeners and
/// connections.
/// ```swift
/// let handOver = try await HandOver.begin(at: UnixAddress(path: "/run/app/control"))
/// var inherited = handOver.takeInherited()
/// let web: TCPListener =
///   handOver.isSuccessor
///   ? try inherited.descriptors.takeListener(named: "web") : try .bind(to: address)
/// // Load what is needed; nothing is accepted yet, and the predecessor still serves.
/// let ending = try await handOver.run {
///   var items = HandOverItems()
///   try await items.descriptors.append(duplicateOf: web, named: "web")
///   return items
/// } serving: { announce in
///   announce()
///   try await web.serve { connection in … }
/// }
/// // .replaced: the successor serves, and the last connection of this process has ended.
/// ```
/// The predecessor accepts connections until the successor does; those in the backlog belong to
/// both, since it is the same open file. One successor is served at a time. A successor that ends
/// or fails before it serves changes nothing. When the predecessor ends before that, the successor
/// serves with what it has.
///
/// The bytes are in Docs/Wire.md, so that processes in other languages can take part.
public final class HandOver: Sendable {
  /// How ``run(offering:takingBack:serving:)`` has ended.
  public enum Ending: Hashable, Sendable {
    /// A successor serves, and this process has nothing left to do.
    case replaced
    /// `serving` has ended, or the call was cancelled. The control address is free, unless a
    /// successor was taking over: it serves with what it has received.
    case ended
  }

  /// The address where successors connect.
  public let address: UnixAddress
  /// Whether this process takes over from another one.
  public let isSuccessor: Bool
  /// Whether all items that the predecessor has announced have arrived. False if the predecessor
  /// ended before.
  public let isComplete: Bool
  /// Called with each event, for logs.
  let observer: @Sendable (HandOverEvent) -> Void
  let limits: HandOverLimits
  let stateVersion: UInt32
  let control: UnixListener<UnixSeqpacket>
  /// Nil in the first process, and when the predecessor has ended.
  let predecessor: Successor?
  /// Files of the sockets that were taken over. They belong to this process when it serves.
  private let files: [SocketFileOwnership]
  private let inherited: HeldItems
  private let isUnderWay = TSanVisibleMutex(false)
  private let hasRun = Atomic(false)

  init(_ found: consuming FoundControl, _ settings: HandOverSettings) {
    address = settings.address
    observer = settings.observer
    limits = settings.limits
    stateVersion = settings.stateVersion
    isSuccessor = found.isSuccessor
    isComplete = found.isComplete
    control = found.control
    predecessor = found.predecessor
    files = found.files
    inherited = HeldItems(found.items)
  }

  /// Takes over the items of a predecessor, or listens for successors if there is no predecessor.
  ///
  /// - Parameters:
  ///   - address: The address of the control socket: a path, whose directory must exist, or an
  ///     abstract address.
  ///   - stateVersion: The form of ``HandOverItems/state``. A predecessor with a different version
  ///     refuses.
  ///   - limits: How long to wait for the other side, and how much to take over.
  ///   - binding: For a path: the permissions of its file, by default for this user only.
  ///   - loop: Where the control socket lives, and where ``run(offering:takingBack:serving:)``
  ///     runs; by default the current loop, or one of the process's shared ones.
  ///   - observer: Called with each event. It is called on the loop: do not block.
  /// - Throws: ``ServiceError``: `handOverUnderWay` (try again when the other successor serves, or
  ///   has failed), `wrongVersion`, `notAuthorized` (the predecessor is another user's),
  ///   `timedOut`, `refused`, `malformedMessage`, `limitExceeded`: the predecessor continues to
  ///   serve. ``SocketError``: `addressInUse`, `notPermitted`, `notFound` (no such directory).
  ///   `CancellationError`.
  public static func begin(
    at address: UnixAddress, stateVersion: UInt32 = 0, limits: HandOverLimits = HandOverLimits(),
    binding: UnixBinding = UnixBinding(),
    on loop: IOLoop? = nil, observer: @escaping @Sendable (HandOverEvent) -> Void = { _ in }
  ) async throws -> HandOver {
    let loop = try loop ?? IOLoop.currentOrShared()
    let settings = HandOverSettings(
      address: address, stateVersion: stateVersion, limits: limits, binding: binding, loop: loop,
      observer: observer)
    return try await loop.run { HandOver(try await settings.findControl(), settings) }
  }

  /// Takes the items that the predecessor has handed over. They are empty in the first process and
  /// from the second call on. Descriptors that are not taken from them close with the returned
  /// value, or in ``run(offering:takingBack:serving:)`` if this method was not called before. The
  /// file of a listener that is not taken is removed when this process serves.
  public func takeInherited() -> HandOverItems { inherited.take() }

  // MARK: Running

  /// Serves until a successor serves.
  ///
  /// In a successor, the method first reports to the predecessor that this process is ready, and
  /// waits for permission to begin. Then it runs `serving`. When `serving` announces that it
  /// accepts connections, the method notifies the predecessor, which then accepts no more
  /// connections, and listens for a successor of its own. When that successor serves, the method
  /// cancels `serving`, and returns when `serving` has ended. `serving` must then accept no more
  /// connections and end the existing ones, as ``SocketListener/serve(_:onError:handler:)`` does.
  /// To stop without a successor, cancel the task.
  ///
  /// - Parameters:
  ///   - offering: Returns the items for a successor. It is called once for each process that asks
  ///     to take over. To hand over a listener, append a duplicate of it. This process must not use
  ///     a connection that it hands over afterwards: append the result of ``LoopSocket/release()``,
  ///     which requires that all messages received ahead have been received. If `offering` throws,
  ///     the successor is refused, the items that were appended are closed, and `takingBack` is not
  ///     called, so that connections that were already released are lost. Therefore perform
  ///     everything that can fail first, with duplicates, and release connections last.
  ///   - takingBack: Receives the items again after a hand-over has failed; this process must then
  ///     serve their connections. When this process is cancelled during the hand-over, `takingBack`
  ///     receives only the items that were not sent yet. The sent items belong to the successor,
  ///     which is notified and serves with what it has. Notifying a successor that does not read
  ///     may take as long as ``HandOverLimits/step``. If the successor cannot be notified because
  ///     its process has ended, or if it has reported that it serves nothing, all items come back.
  ///     A successor that is killed while the notification is in flight takes its items with it.
  ///     `takingBack` runs in a separate task that is never cancelled. Further successors are
  ///     admitted meanwhile, and `run` returns when the task has ended, so that a connection that
  ///     is served in `takingBack` keeps the process alive. It is not called once the successor may
  ///     be serving, unless the successor has ended or reports that it serves nothing. By default,
  ///     all returned items are closed.
  ///   - serving: Accepts and handles connections, on the loop of the control socket. Call
  ///     `announce` when connections are accepted, or immediately before the call that accepts
  ///     them: no code that waits or may fail should run in between. Further calls have no effect.
  ///     The predecessor serves until this call, and waits for it for
  ///     ``HandOverLimits/initialization``. If `serving` ends before, the predecessor continues to
  ///     serve. The first process must call `announce` as well: it admits no successor before that.
  /// - Precondition: This method has not been called before.
  /// - Throws: The error that `serving` throws, except a `CancellationError` after it was
  ///   cancelled. In a successor, before `serving` runs, ``ServiceError``: `refused`, `timedOut`,
  ///   `peerEnded` (the predecessor has closed the connection and continues to serve). The
  ///   successor does not serve after these errors.
  public func run(
    offering: @escaping @Sendable () async throws -> HandOverItems,
    takingBack: @escaping @Sendable (consuming HandOverItems) async -> Void = { _ in },
    serving: @escaping @Sendable (_ announce: @escaping @Sendable () -> Void) async throws -> Void
  ) async throws -> Ending {
    let isFirstRun = !hasRun.exchange(true, ordering: .relaxed)
    precondition(isFirstRun, "A hand-over runs once: begin another one")
    return try await control.loop.run {
      let previous = try await self.begin()
      let predecessor = Predecessor(
        handOver: self, previous: previous, offering: offering, takingBack: takingBack)
      return try await predecessor.run(serving)
    }
  }

  /// Waits until this process may serve. Returns the predecessor, which serves until this process
  /// does.
  private func begin() async throws -> Successor? {
    var previous = predecessor
    do {
      if try await previous?.becomeReady() == false { previous = nil }
    } catch {
      decideFiles(.anotherProcess)
      await control.close()
      throw error
    }
    _ = inherited.take()
    return previous
  }

  /// Decides which process removes the files of the sockets that were taken over.
  func decideFiles(_ owner: SocketFileOwnership.Owner) {
    for file in files { file.decide(owner) }
  }

  /// Begins a hand-over. Returns false if another one is in progress.
  func beginOne() -> Bool {
    isUnderWay.withLock { isUnderWay in
      defer { isUnderWay = true }
      return !isUnderWay
    }
  }

  func endOne() { isUnderWay.withLock { $0 = false } }
}

/// The arguments of ``HandOver/begin(at:stateVersion:limits:binding:on:observer:)``.
struct HandOverSettings: Sendable {
  var address: UnixAddress
  var stateVersion: UInt32
  var limits: HandOverLimits
  var binding: UnixBinding
  var loop: IOLoop
  var observer: @Sendable (HandOverEvent) -> Void

  /// Which processes may be successors. Refusals are reported to the observer.
  var authorization: Authorization {
    .sameUser.reporting { [observer] refusal in
      observer(
        .failed(ServiceError(.notAuthorized, "a process of another user asks: \(refusal.peer)")))
    }
  }

  /// Connects to the predecessor, or listens. If several processes begin at the same time, one
  /// listens, and the others find it.
  func findControl() async throws -> FoundControl {
    var pause = Duration.milliseconds(5)
    while true {
      if let socket = try await connect(),
        let found = try await Successor.takeOver(from: HandOverLink(socket: socket), self)
      {
        return found
      }
      do {
        let control = try UnixListener<UnixSeqpacket>.bind(
          to: address, binding: binding, authorization: authorization, policy: .noDescriptors,
          on: loop)
        return FoundControl(control)
      } catch {
        guard error.code == .addressInUse, pause < .seconds(1) else { throw error }
        // Another process was faster, or is just replacing a dead socket's file.
        try await loop.sleep(for: pause)
        pause *= 2
      }
    }
  }

  /// Connects to the predecessor; nil if no process listens.
  private func connect() async throws -> UnixSeqpacket? {
    // Credentials are needed because the message with the descriptors must identify its sender: the
    // socket itself only knows the first process that listened.
    var settings = [
      SocketSetting(.passCredentials, true), SocketSetting(.passProcessDescriptor, true),
    ]
    while true {
      do {
        return try await loop.withDeadline(.now + limits.step) { [settings] in
          try await UnixSeqpacket.connect(to: address, settings: settings, on: loop)
        }
      } catch let error as SocketError {
        switch error.code {
        case .notFound, .connectionRefused: return nil
        // Before Linux 6.5 there are no process descriptors.
        case .notSupported where settings.count == 2: settings.removeLast()
        case .deadlineExceeded:
          throw ServiceError(.timedOut, "a process listens at \(address), and does not accept")
        default: throw error
        }
      }
    }
  }
}

/// The start of a process: its control listener, and everything that it has taken over.
struct FoundControl: ~Copyable {
  let control: UnixListener<UnixSeqpacket>
  var isSuccessor = false
  var isComplete = true
  var predecessor: Successor?
  var files: [SocketFileOwnership] = []
  var items = HandOverItems()

  init(_ control: UnixListener<UnixSeqpacket>) { self.control = control }
}

// SPDX-License-Identifier: Apache-2.0
public import MessageSockets
internal import SocketEngine
internal import SystemPackage

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// A sender of messages to this process's service manager: that it is ready, what it is doing, that
/// it is alive.
///
/// ```swift
/// let manager = ServiceNotifier()
/// try await manager.notify(.ready, .status("listening on port 8080"))
/// ```
/// A process that was not started by a manager that listens (no `NOTIFY_SOCKET`) has one that does
/// nothing, and says so: ``hasManager``, ``Delivery/noManager``. Speaks the protocol of
/// sd_notify(3), without libsystemd.
public struct ServiceNotifier: Sendable {
  /// The fate of a message.
  public enum Delivery: Hashable, Sendable {
    /// It is in the manager's queue. ``ServiceNotifier/barrier(deadline:)`` tells when it was
    /// processed.
    case sent
    /// No manager listens: nothing was done.
    case noManager
  }

  private enum Address: Sendable {
    case none
    case unix(UnixAddress)
    case unusable(String)
  }

  private let address: Address
  private let loop: IOLoop?

  /// How often the manager wants to hear ``NotifyField/watchdog``, at least; nil if it does not, or
  /// not from this process. `WATCHDOG_USEC`, `WATCHDOG_PID`.
  public let watchdogInterval: Duration?

  /// Speaks to the manager that the environment names.
  ///
  /// - Parameter loop: Where the messages are sent; by default the current one, or the process's
  ///   shared ones.
  public init(on loop: IOLoop? = nil) {
    self.init(environment: ServiceEnvironment.current(), on: loop)
  }

  init(environment: [String: String], on loop: IOLoop? = nil) {
    address = Self.address(environment["NOTIFY_SOCKET"])
    self.loop = loop
    let isForUs = environment["WATCHDOG_PID"].map { $0 == "\(getpid())" } ?? true
    let interval = environment["WATCHDOG_USEC"].flatMap { Int64($0) }.flatMap {
      $0 > 0 ? Duration.microseconds($0) : nil
    }
    watchdogInterval = isForUs ? interval : nil
  }

  /// Speaks to the manager at an address.
  public init(to manager: UnixAddress, on loop: IOLoop? = nil) {
    address = .unix(manager)
    self.loop = loop
    watchdogInterval = nil
  }

  private static func address(_ text: String?) -> Address {
    guard let text, !text.isEmpty else { return .none }
    let bytes = Array(text.utf8)
    let address =
      switch bytes[0] {
      case UInt8(ascii: "/"): try? UnixAddress(pathBytes: bytes)
      case UInt8(ascii: "@"): try? UnixAddress(abstract: Array(bytes.dropFirst()))
      default: UnixAddress?.none
      }
    return address.map { .unix($0) } ?? .unusable(text)
  }

  /// Whether there is a manager to speak to.
  public var hasManager: Bool {
    if case .none = address { return false }
    return true
  }

  /// Sends one message with these fields.
  ///
  /// - Parameters:
  ///   - fields: What to say.
  ///   - deadline: How long to wait while the manager's queue is full; by default 5 seconds.
  /// - Throws: ``ServiceError``: `unsupportedAddress` (`NOTIFY_SOCKET` names no Unix socket: vsock
  ///   is not supported). ``SocketError``: `notFound` and `connectionRefused`
  ///   (no socket is bound there), `notPermitted`, `deadlineExceeded`. `CancellationError`; then
  ///   nothing was sent. A missing manager is no error.
  @discardableResult
  public func notify(
    _ fields: [NotifyField], deadline: Deadline = .now + .seconds(5)
  ) async throws -> Delivery {
    try await send(fields, descriptors: Span(), deadline)
  }

  /// Sends one message with these fields; see ``notify(_:deadline:)-([NotifyField],_)``.
  @discardableResult
  public func notify(
    _ fields: NotifyField..., deadline: Deadline = .now + .seconds(5)
  ) async throws -> Delivery {
    try await notify(fields, deadline: deadline)
  }

  /// Waits until the manager has processed all messages that were sent before. The C name is
  /// sd_notify_barrier(3).
  ///
  /// - Throws: As ``notify(_:deadline:)-([NotifyField],_)``; `deadlineExceeded` also when the
  ///   manager has not answered by then.
  @discardableResult
  public func barrier(deadline: Deadline = .now + .seconds(5)) async throws
    -> Delivery
  {
    guard hasManager else { return .noManager }
    let loop = try loop ?? IOLoop.currentOrShared()
    // systemd itself uses a pipe here. A loop can wait for the end of a socket too, and the manager
    // only closes the descriptor.
    let (ours, theirs) = try UnixStream.makePair(on: loop)
    do {
      var barrier = OwnedFds()
      barrier.append(try await theirs.release())
      try await send([NotifyField("BARRIER", "1")], descriptors: barrier.span, deadline)
      barrier.closeAll()
      // Waits for the end of the stream, however many bytes another manager writes before it.
      while try await ours.receiveMessage(deadline: deadline) != nil {}
    } catch {
      await ours.close()
      await theirs.close()
      throw error
    }
    await ours.close()
    return .sent
  }

  /// Notifies the manager twice in each ``watchdogInterval`` that the loop turns, until the task is
  /// cancelled. Returns immediately if the manager has not set a watchdog interval.
  ///
  /// A task on the loop sends the notifications, so that they stop when code blocks the loop's
  /// thread. If the manager receives none for the interval, it kills the service and, if configured
  /// to (`Restart=`), starts it again. A notification that cannot be sent is skipped; the next one
  /// is sent at its time.
  ///
  /// - Throws: ``SocketError``: `loopShutDown`, `loopFailed`. Cancellation is no
  ///   error.
  public func keepAlive() async throws {
    guard hasManager, let watchdogInterval else { return }
    let loop = try loop ?? IOLoop.currentOrShared()
    let pause = watchdogInterval / 2
    try await loop.run {
      while !Task.isCancelled {
        _ = try? await notify(.watchdog, deadline: .now + pause)
        do {
          try await loop.sleep(for: pause)
        } catch is CancellationError {}
      }
    }
  }

  /// Sends a message on a new socket: messages are rare, and this way a restarted manager is found.
  @discardableResult
  func send(
    _ fields: [NotifyField], descriptors: Span<OwnedFd>, _ deadline: Deadline
  ) async throws -> Delivery {
    let address: UnixAddress
    switch self.address {
    case .none: return .noManager
    case .unix(let manager): address = manager
    case .unusable(let text):
      throw ServiceError(
        .unsupportedAddress,
        "NOTIFY_SOCKET is \(text.prefix(128).debugDescription), not the address of a Unix socket")
    }
    let loop = try loop ?? IOLoop.currentOrShared()
    let payload = NotifyField.encode(fields)
    let socket = try UnixDatagram(on: loop)
    do {
      // Connected, so that it is possible to wait for room in the manager's queue.
      try await socket.connect(to: address)
      try await socket.send(payload, descriptors, before: deadline)
    } catch {
      await socket.close()
      throw error
    }
    await socket.close()
    return .sent
  }
}

extension UnixDatagram {
  /// Sends a message, and waits for room until the deadline.
  fileprivate nonisolated func send(
    _ payload: [UInt8], _ descriptors: Span<OwnedFd>, before deadline: Deadline
  ) async throws {
    // A span cannot be passed to the task that a deadline needs, so a task that closes the socket
    // ends a send that takes too long.
    let guardian = Task(executorPreference: loop.taskExecutor) {
      try await self.loop.sleep(for: deadline.timeLeft)
      await self.close()
    }
    defer { guardian.cancel() }
    do {
      try await sendMessage(payload, descriptors: descriptors)
    } catch let error as SocketError where error.code == .closed {
      throw SocketError(.deadlineExceeded, .send, detail: "the manager's queue is full")
    }
  }
}

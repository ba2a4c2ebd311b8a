// SPDX-License-Identifier: Apache-2.0
public import MessageSockets
internal import Synchronization
public import SystemPackage

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// The manager's side of sd_notify(3): the socket to which services send their state. It serves
/// supervisors, containers and tests.
///
/// ```swift
/// let notifications = try await NotifySocket.bind(to: UnixAddress(path: "/run/supervisor/notify"))
/// // NOTIFY_SOCKET of the child is notifications.environmentValue.
/// for try await notification in notifications.messages where notification.isReady { … }
/// ```
/// The sender of each message is known from the kernel: process, user and group. A message from a
/// user that is not admitted, without known sender, of more than 4,096 bytes, or of more than 64
/// fields is dropped with all of its descriptors, and counted. Nothing is received before it is
/// asked for, so that a sender that floods the socket waits, with the others, while the queue of
/// the kernel is full (`net.unix.max_dgram_qlen`).
public final class NotifySocket: Sendable {
  private let socket: UnixDatagram
  private let admits: @Sendable (Credentials) -> Bool
  private let dropped = Atomic(0)

  /// The value of `NOTIFY_SOCKET` for children.
  public let environmentValue: String

  /// Binds a socket for notifications.
  ///
  /// - Parameters:
  ///   - address: An absolute path, or an abstract address.
  ///   - binding: Who may send, by the permissions of the file: by default this user only.
  ///   - loop: Where the socket lives; by default the current loop, or one of the process's shared
  ///     ones.
  ///   - admitting: Which senders are admitted, by the credentials that the kernel reports.
  ///     Messages of other senders are dropped. By default this process's user and root are
  ///     admitted.
  /// - Throws: As ``UnixDatagram/bind(to:binding:settings:on:)``.
  public static func bind(
    to address: UnixAddress, binding: UnixBinding = UnixBinding(), on loop: IOLoop? = nil,
    admitting: (@Sendable (Credentials) -> Bool)? = nil
  ) async throws -> NotifySocket {
    let credentials = SocketSetting(.passCredentials, true)
    let socket: UnixDatagram
    do throws(SocketError) {
      socket = try UnixDatagram.bind(
        to: address, binding: binding,
        settings: [credentials, SocketSetting(.passProcessDescriptor, true)], on: loop)
    } catch {
      // Before Linux 6.5, only the sender's process number is available.
      guard error.code == .notSupported else { throw error }
      socket = try UnixDatagram.bind(
        to: address, binding: binding, settings: [credentials], on: loop)
    }
    // A limit on held descriptors turns receiving ahead off.
    try await socket.setReceivePolicy(ReceivePolicy(maximumDescriptorsHeld: 1024))
    return NotifySocket(
      socket,
      environmentValue: address.kind == .abstract
        ? "@" + String(decoding: address.nameBytes, as: UTF8.self) : "\(address)",
      admits: admitting ?? { $0.userID == geteuid() || $0.userID == 0 })
  }

  private init(
    _ socket: UnixDatagram, environmentValue: String,
    admits: @escaping @Sendable (Credentials) -> Bool
  ) {
    self.socket = socket
    self.environmentValue = environmentValue
    self.admits = admits
  }

  /// How many messages were dropped, for any of the reasons that this type's description names.
  public var droppedCount: Int { dropped.load(ordering: .relaxed) }

  /// Waits for the next message of a sender that is admitted.
  ///
  /// - Throws: ``SocketError``: `closed`, `loopShutDown`, `loopFailed`.
  ///   `CancellationError`; then no message is lost.
  public func receive() async throws -> ServiceNotification {
    while true {
      do {
        // A datagram socket has no end.
        guard let message = try await socket.receiveMessage() else { continue }
        if let notification = ServiceNotification(message, admits) { return notification }
      } catch let error as SocketError where error.code == .messageIncomplete {
        // The message is too long, or has more descriptors than this process can hold, so it is
        // dropped.
      } catch let error as SocketError where error.code == .policyViolated {
        // Too many descriptors of dropped messages wait to be closed.
        try await socket.loop.sleep(for: .milliseconds(10))
        continue
      }
      dropped.add(1, ordering: .relaxed)
    }
  }

  /// The messages as they come, until the socket is closed.
  public var messages: AsyncThrowingStream<ServiceNotification, any Error> {
    AsyncThrowingStream {
      do {
        return try await self.receive()
      } catch let error as SocketError where error.code == .closed {
        return nil
      }
    }
  }

  /// Closes the socket, and removes its file.
  public func close() async { await socket.close() }
}

/// A message of a service to its manager.
///
/// The descriptors that came with it close with the last reference, if they were not taken. That is
/// also what a barrier waits for (``ServiceNotifier/barrier(deadline:)``): drop a notification as
/// soon as it is processed.
public struct ServiceNotification: Sendable {
  /// All assignments, in order. Ignore those whose names you do not know.
  public let fields: [NotifyField]
  /// The sender, as the kernel reports it.
  public let sender: Credentials
  /// Whether the sender waits until this is dropped, as ``ServiceNotifier/barrier(deadline:)``
  /// does; there is nothing else in such a message. `BARRIER=1` with one descriptor.
  public let isBarrier: Bool
  private let message: ReceivedMessage

  /// Nil if the message is not admitted.
  init?(_ message: ReceivedMessage, _ admits: (Credentials) -> Bool) {
    guard let sender = message.credentials, sender.processID != nil, admits(sender),
      message.payload.count <= 4096,
      !message.outcome.isPayloadTruncated, let fields = NotifyField.decode(message.payload)
    else { return nil }
    if fields.contains(where: { $0.name == "BARRIER" }) {
      // Other fields or descriptors violate the protocol, so the message is ignored.
      guard fields == [NotifyField("BARRIER", "1")], message.descriptorCount == 1 else {
        return nil
      }
      isBarrier = true
    } else {
      isBarrier = false
    }
    self.fields = fields
    self.sender = sender
    self.message = message
  }

  /// The value of the first field of that name.
  public subscript(name: String) -> String? { fields.first { $0.name == name }?.value }

  /// Whether it says `READY=1`.
  public var isReady: Bool { self["READY"] == "1" }
  /// Whether it says `STOPPING=1`.
  public var isStopping: Bool { self["STOPPING"] == "1" }
  /// Whether it says `RELOADING=1`.
  public var isReloading: Bool { self["RELOADING"] == "1" }
  /// Whether it says `WATCHDOG=1`.
  public var isWatchdog: Bool { self["WATCHDOG"] == "1" }
  /// A text for people about what the service is doing.
  public var status: String? { self["STATUS"] }

  /// How many descriptors came with it.
  public var descriptorCount: Int { message.descriptorCount }

  /// Gives away what is to be stored (`FDSTORE=1`), under the name that it came with, or else
  /// `stored`. Empty if nothing is to be stored, of a barrier, and at the second call.
  public func takeDescriptorsToStore() -> NamedDescriptors {
    var stored = NamedDescriptors()
    guard self["FDSTORE"] == "1", !isBarrier else { return stored }
    let name = self["FDNAME"] ?? "stored"
    let isName = (try? NamedDescriptors.check(name)) != nil
    var descriptors = message.takeDescriptors()
    while let descriptor = descriptors.takeFirst() {
      stored.append(descriptor, NamedDescriptors.Entry(name: isName ? name : "stored"))
    }
    return stored
  }

  /// The name whose stored descriptors are to be closed (`FDSTOREREMOVE=1`); nil if none are.
  public var nameToRemove: String? {
    self["FDSTOREREMOVE"] == "1" ? self["FDNAME"] ?? "stored" : nil
  }

  /// Gives away a descriptor for the sender's process; see
  /// ``ReceivedMessage/takeProcess()``. Nil before Linux 6.5.
  ///
  /// - Throws: Why the kernel could not make it: `ESRCH`, the sender has ended.
  public func takeProcess() throws(Errno) -> ProcessFd? { try message.takeProcess() }
}

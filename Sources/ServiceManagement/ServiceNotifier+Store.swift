// SPDX-License-Identifier: Apache-2.0
internal import DequeModule
public import MessageSockets
internal import SystemPackage

extension ServiceNotifier {
  /// Leaves second descriptors for these files with the manager, which gives them back when the
  /// service starts again: ``Activation/takeDescriptors()`` finds them under the same names. The C
  /// name is `FDSTORE=1` (sd_pid_notify_with_fds(3)).
  ///
  /// systemd keeps at most `FileDescriptorStoreMax=` of the unit, 0 if not said otherwise, and
  /// drops further ones without a word. A connection whose duplicate is stored stays open for its
  /// peer, even after it is closed here: remove it from the store too, with
  /// ``removeStored(named:deadline:)``. Each name needs a message, and each 253 descriptors do:
  /// where it takes several, the manager has processed one (``barrier(deadline:)``) before the next
  /// is sent.
  ///
  /// - Parameters:
  ///   - descriptors: What to store. They stay open here.
  ///   - watchingForEnd: Whether the manager closes and forgets a descriptor by itself when it is
  ///     told of `POLLHUP` or `POLLERR` on it. False is `FDPOLL=0`.
  ///   - deadline: How long to wait for the manager; by default 5 seconds.
  /// - Throws: As ``notify(_:deadline:)-([NotifyField],_)``, and ``SocketError``:
  ///   `tooManyInFlight`. What was sent before the error is stored.
  @discardableResult
  public func store(
    _ descriptors: borrowing NamedDescriptors, watchingForEnd: Bool = true,
    deadline: Deadline = .now + .seconds(5)
  ) async throws -> Delivery {
    var start = 0
    var delivery = hasManager ? Delivery.sent : .noManager
    while start < descriptors.count {
      let entries = descriptors.entries
      let name = entries[start].name
      let length = min(
        entries[start...].prefix { $0.name == name }.count, ControlMessages.maximumDescriptors)
      if start > 0 { try await barrier(deadline: deadline) }
      delivery = try await send(
        Self.storing(name, watchingForEnd: watchingForEnd),
        descriptors: descriptors.span.extracting(start..<start + length), deadline)
      start += length
    }
    return delivery
  }

  static func storing(_ name: String, watchingForEnd: Bool) -> [NotifyField] {
    [NotifyField("FDSTORE", "1"), NotifyField("FDNAME", name)]
      + (watchingForEnd ? [] : [NotifyField("FDPOLL", "0")])
  }

  /// Has the manager close and forget all descriptors that are stored under a name.
  /// `FDSTOREREMOVE=1`.
  ///
  /// - Throws: ``ServiceError``: `invalidName`; and as ``notify(_:deadline:)-([NotifyField],_)``. A
  ///   name that is not in the store is no error.
  @discardableResult
  public func removeStored(
    named name: String, deadline: Deadline = .now + .seconds(5)
  ) async throws -> Delivery {
    try NamedDescriptors.check(name)
    return try await notify(
      [NotifyField("FDSTOREREMOVE", "1"), NotifyField("FDNAME", name)], deadline: deadline)
  }
}

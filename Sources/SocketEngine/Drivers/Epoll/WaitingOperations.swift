// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets

/// The operations that wait for their socket, by descriptor number: at most one in each direction.
///
/// An array, because descriptor numbers are small and dense. An entry is valid only while a channel
/// with its number is registered; the next channel with that number starts again with
/// ``register(_:_:)``.
struct WaitingOperations: ~Copyable {
  private struct Place {
    /// Indexed by ``Direction``.
    var operations = InlineArray<4, Operation?>(repeating: nil)
    /// The events for which the epoll set watches the descriptor.
    var interest: UInt32 = 0
  }

  private var places: [Place] = []
  private(set) var count = 0

  init() {}

  func interest(in number: Int32) -> UInt32 {
    Int(number) < places.count ? places[Int(number)].interest : 0
  }

  mutating func register(_ number: Int32, _ interest: UInt32) {
    let missing = Int(number) + 1 - places.count
    if missing > 0 { places.append(contentsOf: repeatElement(Place(), count: missing)) }
    places[Int(number)].interest = interest
  }

  /// The operation that waits on this descriptor in this direction.
  func find(_ number: Int32, _ direction: Direction) -> Operation? {
    guard Int(number) < places.count else { return nil }
    return places[Int(number)].operations[direction.rawValue]
  }

  /// Whether the operation waits and its slot has not been reused since `id`.
  func contains(_ operation: Operation, _ id: OperationID) -> Bool {
    operation.id == id && operation.descriptor >= 0
      && find(operation.descriptor, Direction(operation.request))?.id == id
  }

  mutating func add(_ operation: Operation) {
    let (index, direction) = (Int(operation.descriptor), Direction(operation.request))
    precondition(
      places[index].operations[direction.rawValue] == nil,
      "Two operations of one socket are \(direction)")
    places[index].operations[direction.rawValue] = operation
    count += 1
  }

  mutating func remove(_ operation: Operation) {
    let (index, direction) = (Int(operation.descriptor), Direction(operation.request))
    assert(
      places[index].operations[direction.rawValue] == operation,
      "An operation that does not wait was removed")
    places[index].operations[direction.rawValue] = nil
    count -= 1
  }
}

extension Direction {
  /// The events to watch for.
  var interest: UInt32 {
    switch self {
    // epoll always reports errors.
    case .errors: 0
    case .urgent: cms_event_urgent
    case .incoming: cms_event_readable | cms_event_peer_shutdown
    case .outgoing: cms_event_writable
    }
  }

  /// Whether the events are a reason to try again.
  func isConcerned(by events: UInt32) -> Bool {
    events & (interest | cms_event_error | cms_event_hangup) != 0
  }
}

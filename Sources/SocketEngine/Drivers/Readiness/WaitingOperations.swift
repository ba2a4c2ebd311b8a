// SPDX-License-Identifier: Apache-2.0
/// The operations that wait for their socket, by the descriptor's number: at most one in each
/// direction.
///
/// An array, because numbers are small and dense. What it says about a number is true only while a
/// channel with that number is registered; the next channel that gets the number starts afresh with
/// ``register(_:_:)``.
struct WaitingOperations: ~Copyable {
  private struct Place {
    var incoming: Operation?
    var errors: Operation?
    var urgent: Operation?
    var outgoing: Operation?
    /// What the epoll set watches the descriptor for.
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

  /// The operation that waits on this number.
  func find(_ number: Int32, _ direction: Direction) -> Operation? {
    guard Int(number) < places.count else { return nil }
    return switch direction {
    case .incoming: places[Int(number)].incoming
    case .errors: places[Int(number)].errors
    case .urgent: places[Int(number)].urgent
    case .outgoing: places[Int(number)].outgoing
    }
  }

  /// Whether exactly this use of the operation's slot waits.
  func contains(_ operation: Operation, _ id: OperationID) -> Bool {
    operation.id == id && operation.descriptor >= 0
      && find(operation.descriptor, Direction(operation.request))?.id == id
  }

  mutating func add(_ operation: Operation) {
    let index = Int(operation.descriptor)
    switch Direction(operation.request) {
    case .incoming:
      precondition(places[index].incoming == nil, "Two operations receive from one socket")
      places[index].incoming = operation
    case .errors:
      precondition(places[index].errors == nil, "Two operations read one error queue")
      places[index].errors = operation
    case .urgent:
      precondition(places[index].urgent == nil, "Two operations receive out-of-band bytes")
      places[index].urgent = operation
    case .outgoing:
      precondition(places[index].outgoing == nil, "Two operations send to one socket")
      places[index].outgoing = operation
    }
    count += 1
  }

  mutating func remove(_ operation: Operation) {
    let index = Int(operation.descriptor)
    switch Direction(operation.request) {
    case .incoming: places[index].incoming = nil
    case .errors: places[index].errors = nil
    case .urgent: places[index].urgent = nil
    case .outgoing: places[index].outgoing = nil
    }
    count -= 1
  }
}

// SPDX-License-Identifier: Apache-2.0
/// All operations of a loop, found by index and checked by generation. Slots are reused, last freed
/// first, and never move.
struct OperationTable: ~Copyable {
  private var slots: [Operation] = []
  private var free: [UInt32] = []

  init() {}

  deinit {
    for operation in slots { operation.deallocate() }
  }

  /// How many operations are in use.
  var inUse: Int { slots.count - free.count }

  /// Takes a slot; `make` builds a new one, for the index given, if none is free.
  mutating func take(orMake make: (UInt32) -> Operation) -> Operation {
    if let index = free.popLast() { return slots[Int(index)] }
    let operation = make(UInt32(slots.count))
    slots.append(operation)
    return operation
  }

  /// The operation that `id` names, or nil if its slot has moved on.
  func find(_ id: OperationID) -> Operation? {
    guard id.index < slots.count else { return nil }
    let operation = slots[Int(id.index)]
    return operation.id == id && operation.life.state != .free ? operation : nil
  }

  /// Gives a slot back. Its identifier must have been renewed before.
  mutating func giveBack(_ operation: Operation) {
    assert(operation.life.state == .free)
    free.append(operation.id.index)
  }

  /// All operations in use, as of now.
  var allInUse: [Operation] { slots.filter { $0.life.state != .free } }
}

// SPDX-License-Identifier: Apache-2.0
/// State of a class that only one thread uses: at a fixed address, without the run-time exclusivity
/// check that each access to a class's own stored variable costs (39 checks a message, a tenth of
/// its time, before).
///
/// What the check would catch must be kept by hand: an access to `value` must not call code that
/// accesses the same member again.
@safe
struct LoopConfined<Value: ~Copyable>: ~Copyable {
  private let storage: UnsafeMutablePointer<Value>

  init(_ value: consuming Value) {
    // SAFETY: freed in deinit only, with the object that holds this value.
    unsafe storage = .allocate(capacity: 1)
    unsafe storage.initialize(to: value)
  }

  deinit {
    unsafe storage.deinitialize(count: 1)
    unsafe storage.deallocate()
  }

  var value: Value {
    _read { yield unsafe storage.pointee }
    nonmutating _modify { yield unsafe &storage.pointee }
  }
}

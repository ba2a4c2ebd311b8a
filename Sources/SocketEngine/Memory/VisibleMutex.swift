// SPDX-License-Identifier: Apache-2.0
internal import Synchronization

/// A `Mutex` for what threads really contend for. `Mutex` takes a contended lock in the kernel
/// (`FUTEX_LOCK_PI`), where ThreadSanitizer does not look, and which it then reports as a race; an
/// atomic makes the order of the critical sections visible to it.
struct VisibleMutex<Value: ~Copyable>: ~Copyable {
  private let mutex: Mutex<Value>
  private let sections = Atomic(0)

  init(_ value: consuming sending Value) { mutex = Mutex(value) }

  borrowing func withLock<R: ~Copyable>(_ body: (inout sending Value) -> sending R) -> sending R {
    mutex.withLock { value in
      _ = sections.load(ordering: .acquiring)
      defer { sections.add(1, ordering: .releasing) }
      return body(&value)
    }
  }
}

extension VisibleMutex: Sendable where Value: ~Copyable {}

// SPDX-License-Identifier: Apache-2.0
public import Synchronization

/// A `Mutex` for data that threads really contend for. `Mutex` takes a contended lock in the kernel
/// (`FUTEX_LOCK_PI`), which ThreadSanitizer does not see and reports as a race. An atomic makes the
/// order of the critical sections visible to it.
///
/// `@inlinable`, so that the modules above specialize it.
@usableFromInline
package struct TSanVisibleMutex<Value: ~Copyable>: ~Copyable {
  @usableFromInline let mutex: Mutex<Value>
  @usableFromInline let sections = Atomic(0)

  @inlinable
  package init(_ value: consuming sending Value) { mutex = Mutex(value) }

  @inlinable
  package borrowing func withLock<R: ~Copyable, Failure: Error>(
    _ body: (inout sending Value) throws(Failure) -> sending R
  ) throws(Failure) -> sending R {
    try mutex.withLock { (value: inout sending Value) throws(Failure) -> sending R in
      _ = sections.load(ordering: .acquiring)
      defer { sections.add(1, ordering: .releasing) }
      return try body(&value)
    }
  }
}

extension TSanVisibleMutex: Sendable where Value: ~Copyable {}

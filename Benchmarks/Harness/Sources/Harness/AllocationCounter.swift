// SPDX-License-Identifier: Apache-2.0
internal import Glibc

/// The heap allocations of a thread, if a counter is preloaded (`LD_PRELOAD`); runs that are timed
/// have none.
public enum AllocationCounter {
  private typealias Function = @convention(c) () -> Int64

  private static let function: Function? = {
    guard let symbol = dlsym(nil, "cac_allocations") else { return nil }
    return unsafeBitCast(symbol, to: Function.self)
  }()

  /// Those of the calling thread so far; nil without a counter.
  public static var onThisThread: Int64? { function?() }
}

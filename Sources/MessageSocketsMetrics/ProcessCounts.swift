// SPDX-License-Identifier: Apache-2.0
#if Metrics
  internal import SocketEngine

  /// Counts that belong to no loop.
  enum ProcessCounts {
    /// Descriptors of peers that other threads have still to close.
    static var descriptorsClosing: Int { ClosingService.shared.count }
  }
#endif

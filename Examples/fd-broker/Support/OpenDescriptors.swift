// SPDX-License-Identifier: Apache-2.0
import Dispatch
import Foundation

/// The descriptors that this process has open, by number, with their targets.
struct OpenDescriptors: Sendable {
  private let targets: [String: String]

  /// The open descriptors before any work.
  ///
  /// Dispatch, on which Swift's tasks run, opens its own descriptors (an epoll, an eventfd, a
  /// timerfd) when it first needs them, on one of its threads. A timer makes it open them now, so
  /// that they are not mistaken for leaks later.
  static func baseline() async throws -> OpenDescriptors {
    let timer = DispatchSource.makeTimerSource()
    await withCheckedContinuation { fired in
      timer.setEventHandler { fired.resume() }
      timer.schedule(deadline: .now())
      timer.activate()
    }
    timer.cancel()
    return try current()
  }

  /// - Throws: If /proc is not mounted.
  static func current() throws -> OpenDescriptors {
    let directory = "/proc/self/fd"
    var targets: [String: String] = [:]
    for number in try FileManager.default.contentsOfDirectory(atPath: directory) {
      // The descriptor with which the list was read is closed by now, and has no target.
      targets[number] = try? FileManager.default.destinationOfSymbolicLink(
        atPath: directory + "/" + number)
    }
    return OpenDescriptors(targets: targets)
  }

  var count: Int { targets.count }

  /// The descriptors that were not open, or had another target, at an earlier time:
  /// `["7 socket:[123]"]`.
  func added(since earlier: OpenDescriptors) -> [String] {
    targets.filter { earlier.targets[$0.key] != $0.value }.map { "\($0.key) \($0.value)" }.sorted()
  }
}

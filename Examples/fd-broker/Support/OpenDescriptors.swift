// SPDX-License-Identifier: Apache-2.0
import Dispatch
import Foundation

/// The descriptors that this process has open, by number, with what they lead to.
struct OpenDescriptors: Sendable {
  private let targets: [String: String]

  /// What is open before any work.
  ///
  /// Dispatch, on which Swift's tasks run, opens descriptors of its own (an epoll, an eventfd, a
  /// timerfd) when it first needs them and from a thread of its own. A timer makes it open them
  /// now, so that they are not taken for leaks later.
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

  /// - Throws: when /proc is not mounted.
  static func current() throws -> OpenDescriptors {
    let directory = "/proc/self/fd"
    var targets: [String: String] = [:]
    for number in try FileManager.default.contentsOfDirectory(atPath: directory) {
      // The one that read the list is closed by now, and has no target.
      targets[number] = try? FileManager.default.destinationOfSymbolicLink(
        atPath: directory + "/" + number)
    }
    return OpenDescriptors(targets: targets)
  }

  var count: Int { targets.count }

  /// Those that were not open, or led elsewhere, at an earlier time: `["7 socket:[123]"]`.
  func added(since earlier: OpenDescriptors) -> [String] {
    targets.filter { earlier.targets[$0.key] != $0.value }.map { "\($0.key) \($0.value)" }.sorted()
  }
}

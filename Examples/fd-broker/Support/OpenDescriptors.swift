import Foundation

/// The descriptors that this process has open, by number, with what they lead to.
struct OpenDescriptors: Sendable {
  private let targets: [String: String]

  /// - Throws: when /proc is not mounted.
  static func current() throws -> OpenDescriptors {
    let directory = "/proc/self/fd"
    var targets: [String: String] = [:]
    for number in try FileManager.default.contentsOfDirectory(atPath: directory) {
      // The one that read the list is closed by now, and has no target any more.
      targets[number] = try? FileManager.default.destinationOfSymbolicLink(atPath: directory + "/" + number)
    }
    return OpenDescriptors(targets: targets)
  }

  var count: Int { targets.count }

  /// Those that were not open, or led elsewhere, at an earlier time: `["7 socket:[123]"]`.
  func added(since earlier: OpenDescriptors) -> [String] {
    targets.filter { earlier.targets[$0.key] != $0.value }.map { "\($0.key) \($0.value)" }.sorted()
  }
}

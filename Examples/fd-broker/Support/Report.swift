// SPDX-License-Identifier: Apache-2.0
/// The results of a process, as a line on its standard output:
/// `report: received=1000 open-before=9`.
struct Report: Equatable {
  var counts: [String: Int]

  init(_ counts: [String: Int]) { self.counts = counts }

  /// Creates the report of a process that had these descriptors open before and after its work.
  /// Prints those that are new.
  init(_ counts: [String: Int], before: OpenDescriptors, after: OpenDescriptors) {
    self.counts = counts
    self.counts["open-before"] = before.count
    self.counts["open-after"] = after.count
    for descriptor in after.added(since: before) {
      Console.note("open after the work, not before: \(descriptor)")
    }
  }

  subscript(_ key: String) -> Int? { counts[key] }

  /// The number of descriptors that are open at the end but were not at the start; nil if unknown.
  var leaked: Int? {
    guard let before = self["open-before"], let after = self["open-after"] else { return nil }
    return after - before
  }
}

extension Report: LosslessStringConvertible {
  private static var prefix: String { "report: " }

  var description: String {
    Self.prefix
      + counts.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: " ")
  }

  /// Nil if the line is no report.
  init?(_ line: String) {
    guard line.hasPrefix(Self.prefix) else { return nil }
    var counts: [String: Int] = [:]
    for field in line.dropFirst(Self.prefix.count).split(separator: " ") {
      let parts = field.split(separator: "=")
      guard parts.count == 2, let value = Int(parts[1]) else { return nil }
      counts[String(parts[0])] = value
    }
    self.init(counts)
  }
}

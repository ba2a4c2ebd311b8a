// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import Harness

extension FirstSteps {
  private static let rounds = 7

  /// Runs all forms in turn, several times, so that other load on the machine affects all of them.
  static func compare() throws {
    var wall: [Form: [Double]] = [:]
    var processor: [Form: [Double]] = [:]
    for _ in 0..<rounds {
      for form in Form.allCases {
        let figures = try run(form)
        wall[form, default: []].append(figures.wall)
        processor[form, default: []].append(figures.processor)
      }
    }
    let reference = median(wall[.run]!)
    print("| form | µs a round trip | µs of processor time | beside loop.run |")
    print("| --- | --- | --- | --- |")
    for form in Form.allCases {
      let time = median(wall[form]!)
      let cells = [
        text(time / 1000), text(median(processor[form]!) / 1000), text(time / reference),
      ]
      print("| \(form.rawValue) | \(cells.joined(separator: " | ")) |")
    }
  }

  private static func median(_ values: [Double]) -> Double { values.sorted()[values.count / 2] }

  private static func text(_ value: Double) -> String {
    let hundredths = Int((value * 100).rounded())
    return "\(hundredths / 100).\(hundredths % 100 < 10 ? "0" : "")\(hundredths % 100)"
  }

  /// Runs this program again, in one form.
  private static func run(_ form: Form) throws -> (wall: Double, processor: Double) {
    guard let output = popen("exec /proc/\(getpid())/exe \(form.rawValue)", "r") else {
      throw Failure("popen: \(errno)")
    }
    var line = [CChar](repeating: 0, count: 256)
    let isRead = fgets(&line, Int32(line.count), output) != nil
    guard pclose(output) == 0, isRead else { throw Failure("the form \(form.rawValue) failed") }
    let words = String(
      decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self
    )
    .split(whereSeparator: \.isWhitespace).compactMap { Double($0) }
    guard words.count == 2 else { throw Failure("the form \(form.rawValue) printed no figures") }
    return (words[0], words[1])
  }
}

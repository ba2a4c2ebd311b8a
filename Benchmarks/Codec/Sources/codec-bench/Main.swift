// SPDX-License-Identifier: Apache-2.0
import Glibc

/// Nanoseconds to encode and to decode one message with descriptors, compared with an equal loop in
/// C with the CMSG macros.
///
/// The two sides take turns, so that other load affects both; the best turn of each counts. A
/// decode overwrites its input, which is restored each time; that copy is measured separately and
/// subtracted from both sides.
@main
struct CodecBench {
  struct Row {
    let name: String
    let descriptors: Int
    let c: Double
    let swift: Double
    var ratio: Double { swift / c }
  }

  /// The limit of `--check`, as a multiple of C's time.
  static let limit = 1.5
  static let turns = 40
  static let nanosecondsPerTurn = 4_000_000.0

  static func main() {
    var rows: [Row] = []
    for count in [1, 253] {
      let codec = Codec(count: count)
      rows.append(
        compare("encode", codec, c: codec.cEncode, swift: codec.swiftEncode, subtractsRefill: false)
      )
      rows.append(
        compare("decode", codec, c: codec.cDecode, swift: codec.swiftDecode, subtractsRefill: true))
      rows.append(
        compare(
          "decode-fresh", codec, c: codec.cDecodeFresh, swift: codec.swiftDecodeFresh,
          subtractsRefill: true))
    }
    print("operation      descriptors      C ns   Swift ns   Swift/C")
    for row in rows {
      print(
        pad(row.name, 15, left: true) + pad("\(row.descriptors)", 11) + pad(decimal(row.c), 10)
          + pad(decimal(row.swift), 11)
          + pad(decimal(row.ratio), 10))
    }
    for row in rows {
      print(
        "{\"benchmark\":\"codec\",\"operation\":\"\(row.name)\",\"descriptors\":\(row.descriptors),"
          + "\"c_ns\":\(decimal(row.c)),\"swift_ns\":\(decimal(row.swift)),\"ratio\":\(decimal(row.ratio))}"
      )
    }
    if CommandLine.arguments.contains("--check") {
      let slow = rows.filter { $0.ratio > limit }
      for row in slow {
        print("too slow: \(row.name) of \(row.descriptors) takes \(decimal(row.ratio)) times C")
      }
      if !slow.isEmpty { exit(1) }
    }
  }

  static func compare(
    _ name: String, _ codec: Codec, c: (Int) -> UInt64, swift: (Int) -> UInt64,
    subtractsRefill: Bool
  ) -> Row {
    let rounds = max(100, Int(nanosecondsPerTurn / max(1, Double(c(1000)) / 1000)))
    var best = (
      c: Double.infinity, swift: Double.infinity, refill: subtractsRefill ? Double.infinity : 0
    )
    for _ in 0..<turns {
      best.c = min(best.c, Double(c(rounds)) / Double(rounds))
      best.swift = min(best.swift, Double(swift(rounds)) / Double(rounds))
      if subtractsRefill {
        best.refill = min(best.refill, Double(codec.refill(rounds)) / Double(rounds))
      }
    }
    return Row(
      name: name, descriptors: codec.count, c: best.c - best.refill, swift: best.swift - best.refill
    )
  }

  static func decimal(_ value: Double) -> String {
    let hundredths = Int((value * 100).rounded())
    return "\(hundredths / 100).\(hundredths % 100 < 10 ? "0" : "")\(hundredths % 100)"
  }

  static func pad(_ text: String, _ width: Int, left: Bool = false) -> String {
    let space = String(repeating: " ", count: max(0, width - text.count))
    return left ? text + space : space + text
  }
}

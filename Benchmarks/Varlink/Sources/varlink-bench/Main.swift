// SPDX-License-Identifier: Apache-2.0
import Foundation
import MessageSockets

/// A call whose reply has 1 KiB and one descriptor, in several forms, over a pair of sockets on one
/// loop. The forms take turns; the fastest round of each counts.
@main
enum Main {
  static func main() async throws {
    let calls = CommandLine.arguments.dropFirst().first.flatMap { Int($0) } ?? 20_000
    let rounds = CommandLine.arguments.dropFirst(2).first.flatMap { Int($0) } ?? 7
    let loop = try IOLoop()
    var fastest: [Form: Double] = [:]
    var hops: [Form: Double] = [:]
    for round in 0...rounds {
      for form in Form.allCases {
        let before = await loop.statistics.hops
        let time = try await loop.run { try await form.measure(calls: calls) }
        hops[form] = Double(await loop.statistics.hops - before) / Double(calls)
        // The first round warms up.
        if round > 0 { fastest[form] = min(fastest[form] ?? .infinity, time) }
      }
    }
    await loop.shutdown()
    report(fastest, hops, on: loop)
  }

  private static func report(_ times: [Form: Double], _ hops: [Form: Double], on loop: IOLoop) {
    let plain = times[.plain]!
    print(
      "A call with a reply of 1 KiB and one descriptor, nanoseconds of the processor's (\(loop.driver.kind)):"
    )
    for form in Form.allCases {
      let ratio = times[form]! / plain
      print(
        "  \(form.rawValue.padding(toLength: 22, withPad: " ", startingAt: 0)) \(Int(times[form]!)), \(String(format: "%.2f", ratio)) times the plain pair, \(String(format: "%.2f", hops[form]!)) hops"
      )
    }
    let overhead = times[.varlink]! - plain
    print(
      "JSON is \(Int(100 * times[.json]! / overhead)) % of what Varlink costs beyond the plain pair."
    )
    let framed = max(times[.framed]!, times[.zeroTerminated]!) / plain
    print(
      "Target: framed at most 1.30 times the plain pair: \(framed <= 1.3 ? "hit" : "miss") (\(String(format: "%.2f", framed)))"
    )
  }
}

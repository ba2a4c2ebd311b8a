// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import fd_broker

@Suite struct ReportTests {
  @Test func aReportSurvivesItsLine() {
    let report = Report(["open-before": 3, "open-after": 5, "passed": 1000])
    #expect(Report("\(report)") == report)
    #expect(report.leaked == 2)
  }

  @Test(arguments: ["", "listening on /x", "report: passed", "report: passed=many"])
  func otherLinesAreNone(line: String) { #expect(Report(line) == nil) }

  @Test func nothingIsSaidToHaveLeakedOrNotWithoutCounts() {
    #expect(Report(["passed": 1]).leaked == nil)
  }
}

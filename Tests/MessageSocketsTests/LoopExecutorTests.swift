// SPDX-License-Identifier: Apache-2.0
import Glibc
import Testing

extension KernelTests {
  /// The loops as the executor of a whole program, in separate processes: `LoopExecutorTool`.
  @Suite(.timeLimit(.minutes(2))) struct LoopExecutors {
    @Test func allKindsOfTasksRunOnTheLoops() throws {
      let found = try run("kinds")
      #expect(found.count == 12, "\(found)")
      for (name, value) in found { #expect(value == "true", "\(name) of \(found)") }
    }

    @Test func messagesCostNoHops() throws {
      let found = try run("hops")
      #expect(found["same loop"] == "true", "\(found)")
      for name in ["on the main actor", "elsewhere"] {
        let hops = try #require(found[name].flatMap { Int($0) }, "\(found)")
        #expect(hops < 50, "\(name) of \(found)")
      }
      #expect(found["answers"] == "20", "\(found)")
    }

    @Test func aJobThatTakesLongHoldsUpNoOthers() throws {
      let found = try run("held-up")
      if found["loops"] != "1" {
        #expect(found["behind it"] == "20", "\(found)")
        #expect(found["from elsewhere"] == "20", "\(found)")
      }
      #expect(found["long turns"] == "true", "\(found)")
    }

    @Test func sleepsAreOnTheLoopsClock() throws {
      #expect(try run("sleeps") == ["slept": "true", "cancelled": "true"])
    }

    @Test func manyTasksAndActors() throws { #expect(try run("crowd") == ["sum": "true"]) }

    @Test func anErrorComesOutOfMain() throws { #expect(try run("error") == ["thrown": "true"]) }

    @Test func tooLateIsAnErrorAndNothingElse() throws {
      #expect(try run("late") == ["code": "true", "received": "true", "on a loop": "false"])
    }

    @Test func installedTwice() throws {
      #expect(try run("installed") == ["installed": "true", "code": "true", "on a loop": "true"])
    }

    private func run(_ part: String) throws -> [String: String] {
      let driver = getenv("MESSAGE_SOCKETS_DRIVER").map { String(cString: $0) }
      return try ProbeTool.run(
        [part], environment: driver, tool: ChildProcess.directory + "/LoopExecutorTool")
    }
  }
}

// SPDX-License-Identifier: Apache-2.0
import MessageSockets
@testable import SocketEngine
import Testing

extension KernelTests {
  @Suite struct DriverChoices {
    @Test func theEnvironmentsValues() throws {
      #expect(try DriverEnvironment.choice(named: "") == .automatic)
      #expect(try DriverEnvironment.choice(named: "automatic") == .automatic)
      #expect(try DriverEnvironment.choice(named: "io_uring") == .ioUring)
      #expect(try DriverEnvironment.choice(named: "epoll") == .epoll)
      let error = #expect(throws: SocketError.self) { try DriverEnvironment.choice(named: "Epoll") }
      #expect(error?.code == .invalidConfiguration)
      for name in ["Epoll", "automatic", "io_uring", "epoll"] {
        #expect(error?.description.contains(name) == true)
      }
    }

    @Test func anUnknownValueIsAnErrorOfTheLoop() throws {
      let found = try ProbeTool.run([], environment: "kqueue")
      #expect(found["error"] == "invalidConfiguration", "\(found)")
    }

    @Test func theEnvironmentDecidesWhereTheCodeDoesNot() throws {
      let found = try ProbeTool.run([], environment: "epoll")
      #expect(found["driver"] == "epoll: MESSAGE_SOCKETS_DRIVER asks for it")
    }

    @Test(.enabled(if: ProbeTool.machineHasRing, "io_uring is refused here"))
    func theCodeGoesBeforeTheEnvironment() throws {
      let found = try ProbeTool.run(["choice=io_uring"], environment: "epoll")
      #expect(found["driver"]?.hasPrefix("io_uring: the configuration asks for it") == true)
    }

    @Test(.enabled(if: ProbeTool.machineHasRing, "io_uring is refused here"))
    func withoutAWishTheProbeDecidesAndLeavesNothingOpen() throws {
      let found = try ProbeTool.run([])
      // The description then lists what the kernel does not support.
      #expect(found["driver"]?.hasPrefix("io_uring: it passed the probe") == true)
      #expect(found["second"] == "io_uring")
      #expect(found["sockets"] == "0")
      #expect(found["received"] == "1")
    }

    /// Without this test, the whole suite could pass without ever using the ring.
    @Test(.enabled(if: ProbeTool.machineHasRing, "io_uring is refused here"))
    func theseTestsRunOnTheRingUnlessTheEnvironmentSaysOtherwise() throws {
      let asked = try DriverEnvironment.choice()
      #expect(TestLoop.isOnRing == (asked != .epoll))
    }

    @Test func aLoopSaysWhatItRunsOn() async throws {
      var configuration = IOLoop.Configuration()
      configuration.driver = .epoll
      try await withOwnLoop(configuration) { loop in
        #expect(loop.driver.kind == .epoll)
        #expect(loop.driver.reason.code == .requested)
        #expect(loop.driver.description == "epoll: the configuration asks for it")
        await loop.shutdown()
        #expect(loop.driver.kind == .epoll)
      }
    }
  }
}

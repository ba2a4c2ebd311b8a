// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Glibc
import MessageSockets

struct ShowDriver: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "driver",
    abstract: "Shows which driver a loop gets here, io_uring or epoll, and why.",
    discussion: """
      Containers usually refuse io_uring; programs then run on epoll. To allow it, admit \
      io_uring_setup, io_uring_enter and io_uring_register in the seccomp profile, and set \
      kernel.io_uring_disabled to 0. MESSAGE_SOCKETS_DRIVER=epoll or io_uring chooses.
      """
  )

  @Flag(help: "Print one line of JSON.")
  var json = false

  private struct Shown: Encodable {
    let driver: String
    let reason: String
    let kernel: String
  }

  func run() async throws {
    try await reportingFailures {
      let loop = try IOLoop()
      let driver = loop.driver
      await loop.shutdown()
      let shown = Shown(driver: "\(driver.kind)", reason: "\(driver.reason)", kernel: Self.kernel)
      if json { return try Console.sayJSON(shown) }
      try Console.say("\(driver)")
    }
  }

  private static var kernel: String {
    var system = utsname()
    unsafe uname(&system)
    // SAFETY: the kernel ends the text with a NUL.
    return unsafe withUnsafeBytes(of: &system.release) { bytes in
      unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }
  }
}

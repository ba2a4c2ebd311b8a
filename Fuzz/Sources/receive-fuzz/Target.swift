// SPDX-License-Identifier: Apache-2.0
import CFuzzDriver
import Glibc

/// The targets, selected by the first argument: `kernel`, the engine on a hostile kernel; `peer`, a
/// real socket with a hostile peer; `framing`, the decoder of frames; `requests`, a request
/// channel, and `varlink`, a service or a client, with a hostile peer.
@main
enum Fuzz {
  static func main() {
    guard
      ["kernel", "peer", "framing", "requests", "varlink"].contains(
        CommandLine.arguments.dropFirst().first)
    else {
      print("usage: receive-fuzz kernel|peer|framing|requests|varlink [libFuzzer's options]")
      exit(2)
    }
    // libFuzzer takes the first argument for the program's name.
    var count = CommandLine.argc - 1
    var arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>? = CommandLine.unsafeArgv + 1
    _ = LLVMFuzzerRunDriver(&count, &arguments) { fuzz($0, $1) }
  }

  static let target = CommandLine.arguments[1]
}

/// The function that libFuzzer calls with each input. A trap, a sanitizer's report or a broken
/// promise (`check`) ends the run.
@_cdecl("LLVMFuzzerTestOneInput")
func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let input = Input(start, count)
  switch Fuzz.target {
  case "peer": PeerRun.run(input)
  case "framing": FramingRun.run(input)
  case "requests": RequestRun.run(input)
  case "varlink": VarlinkRun.run(input)
  default: KernelRun.run(input)
  }
  return 0
}

/// Stops the fuzzer if the library breaks a promise.
func check(_ condition: Bool, _ promise: @autoclosure () -> String) {
  if !condition { fatalError(promise()) }
}

// SPDX-License-Identifier: Apache-2.0
import CFuzzDriver
import Glibc

/// Two targets, of which the first argument names one: `kernel`, the engine over a hostile kernel;
/// `peer`, a real socket with a hostile peer.
@main
enum Fuzz {
  static func main() {
    guard ["kernel", "peer"].contains(CommandLine.arguments.dropFirst().first) else {
      print("usage: receive-fuzz kernel|peer [libFuzzer's options]")
      exit(2)
    }
    // libFuzzer takes the first for the program's name.
    var count = CommandLine.argc - 1
    var arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>? = CommandLine.unsafeArgv + 1
    _ = LLVMFuzzerRunDriver(&count, &arguments) { fuzz($0, $1) }
  }

  static let isPeer = CommandLine.arguments[1] == "peer"
}

/// What libFuzzer calls with each input. A trap, a sanitizer's report or a broken promise (`check`)
/// ends the run.
@_cdecl("LLVMFuzzerTestOneInput")
func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let input = Input(start, count)
  if Fuzz.isPeer { PeerRun.run(input) } else { KernelRun.run(input) }
  return 0
}

/// Stops the fuzzer when the library breaks a promise.
func check(_ condition: Bool, _ promise: @autoclosure () -> String) {
  if !condition { fatalError(promise()) }
}

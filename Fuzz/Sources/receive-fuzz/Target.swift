import CFuzzDriver
import Glibc

/// Two targets, of which the first argument names one: `kernel`, the engine over a hostile kernel; `peer`, a real socket with a hostile peer.
@main
enum Fuzz {
  static func main() {
    var count = CommandLine.argc - 1
    // libFuzzer takes the first for the program's name.
    var arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>? = CommandLine.unsafeArgv + 1
    switch CommandLine.arguments.dropFirst().first {
    case "kernel": _ = LLVMFuzzerRunDriver(&count, &arguments) { KernelRun.run(Input($0, $1)) }
    case "peer": _ = LLVMFuzzerRunDriver(&count, &arguments) { PeerRun.run(Input($0, $1)) }
    default:
      print("usage: receive-fuzz kernel|peer [libFuzzer's options]")
      exit(2)
    }
  }
}

/// Stops the fuzzer when the library breaks a promise.
func check(_ condition: Bool, _ promise: @autoclosure () -> String) {
  if !condition { fatalError(promise()) }
}

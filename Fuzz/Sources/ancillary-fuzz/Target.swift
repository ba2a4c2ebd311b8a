// SPDX-License-Identifier: Apache-2.0
import Ancillary
import CFuzzDriver

@main
enum Fuzz {
  static func main() {
    var count = CommandLine.argc
    var arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>? =
      unsafe CommandLine.unsafeArgv
    _ = unsafe LLVMFuzzerRunDriver(&count, &arguments) { start, count in unsafe fuzz(start, count) }
  }
}

/// The function that libFuzzer calls with each input. A trap, a sanitizer's report or a broken
/// promise (`check`) ends the run.
///
/// The first byte shifts the rest, so that every alignment is tested.
@_cdecl("LLVMFuzzerTestOneInput")
func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  guard let start = unsafe start, count > 0 else { return 0 }
  let input = unsafe UnsafeBufferPointer(start: start, count: count)
  let shift = Int(unsafe input[0] % 8)
  var bytes = unsafe [UInt8](repeating: 0xA5, count: shift) + input.dropFirst()
  unsafe bytes.withUnsafeMutableBytes { memory in
    let control = unsafe UnsafeMutableRawBufferPointer(rebasing: memory[shift...])
    unsafe walk(control.bytes)
    unsafe decodeAddresses(control.bytes)
    unsafe build(control.bytes)
    unsafe encodeRights(control.bytes)
    unsafe adopt(control)
    unsafe receiveAgain(control.bytes)
  }
  unsafe parseText(String(decoding: input, as: UTF8.self))
  return 0
}

/// Stops the fuzzer if the module breaks a promise.
func check(_ condition: Bool, _ promise: StaticString) {
  if !condition { fatalError("\(promise)") }
}

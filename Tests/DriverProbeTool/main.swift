// A process of its own for the tests of the driver's choice: puts itself under restrictions, makes a loop, sends a descriptor over it, and says
// what it found, one "name: value" a line.
//
//   DriverProbeTool [refuse=ERRNO|kill] [memlock=BYTES] [descriptors=COUNT] [user=ID] [choice=io_uring|readiness]
import CProcessRestrictions
import Glibc
import MessageSockets
import SystemPackage

// Whatever goes wrong, it ends.
alarm(60)

var configuration = IOLoop.Configuration()
for argument in CommandLine.arguments.dropFirst() {
  let parts = argument.split(separator: "=", maxSplits: 1).map(String.init)
  guard parts.count == 2 else { fatalError("not understood: \(argument)") }
  let status: Int32
  switch parts[0] {
  case "refuse": status = cpr_refuse_io_uring(parts[1] == "kill" ? 0 : Int32(parts[1])!)
  case "memlock": status = cpr_limit_locked_memory(UInt64(parts[1])!)
  case "descriptors": status = cpr_limit_descriptors(UInt64(parts[1])!)
  case "user": status = cpr_become_user(UInt32(parts[1])!)
  case "entries":
    configuration.ringEntries = Int(parts[1])!
    status = 0
  case "choice":
    configuration.driver = parts[1] == "io_uring" ? .ioUring : .readiness
    status = 0
  default: fatalError("not understood: \(argument)")
  }
  guard status == 0 else {
    print("restriction: \(argument) [\(status)]")
    exit(0)
  }
}

func socketCount() -> Int {
  var count = 0
  for number in 0..<Int32(256) {
    var target = [UInt8](repeating: 0, count: 64)
    let length = readlink("/proc/self/fd/\(number)", &target, target.count)
    if length > 0, String(decoding: target[..<length], as: UTF8.self).hasPrefix("socket:") { count += 1 }
  }
  return count
}

do {
  let socketsBefore = socketCount()
  let loop = try IOLoop(configuration)
  print("kind: \(loop.driver.kind)")
  print("code: \(loop.driver.reason.code)")
  print("driver: \(loop.driver)")
  print("sockets: \(socketCount() - socketsBefore)")
  let second = try IOLoop(configuration)
  print("second: \(second.driver.kind)")
  try await loop.run {
    let (left, right) = try UnixStream.makePair()
    async let message = right.receiveMessage()
    try await left.sendMessage([1], descriptor: OwnedFd(adopting: .init(rawValue: dup(0))))
    print("received: \(try await message?.descriptorCount ?? -1)")
  }
} catch let error as SocketError {
  print("error: \(error.code)")
  print("description: \(error)")
}

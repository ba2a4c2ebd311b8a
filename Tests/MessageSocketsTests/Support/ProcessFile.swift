// SPDX-License-Identifier: Apache-2.0
import MessageSockets
import SystemPackage

/// The first 64 KiB of a file of proc(5).
func textOfProcessFile(_ path: String) throws -> String {
  let file = try OwnedFd.openFile(path)
  var bytes = [UInt8](repeating: 0, count: 64 << 10)
  let count = try file.withUnsafeFileDescriptor { descriptor in
    try bytes.withUnsafeMutableBytes { try descriptor.read(into: $0) }
  }
  return String(decoding: bytes[..<count], as: UTF8.self)
}

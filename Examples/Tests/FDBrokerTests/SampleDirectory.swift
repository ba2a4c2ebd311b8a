// SPDX-License-Identifier: Apache-2.0
import Foundation
import Glibc
import SystemPackage

@testable import fd_broker

/// A served directory with one of each: `root/file`, `root/sub/file`, and things that must not be
/// served.
struct SampleDirectory {
  private let directory: TemporaryDirectory
  let root: FilePath

  init() throws {
    directory = try TemporaryDirectory()
    root = FilePath(directory.path(of: "root"))
    let manager = FileManager.default
    try manager.createDirectory(atPath: path("sub"), withIntermediateDirectories: true)
    try "the file".write(toFile: path("file"), atomically: false, encoding: .utf8)
    try "the other".write(toFile: path("sub/file"), atomically: false, encoding: .utf8)
    try "secret".write(toFile: path("../secret"), atomically: false, encoding: .utf8)
    try manager.createSymbolicLink(atPath: path("escape"), withDestinationPath: "../secret")
    try manager.createSymbolicLink(atPath: path("up"), withDestinationPath: "..")
    try manager.createSymbolicLink(atPath: path("inside"), withDestinationPath: "file")
    // SAFETY: the string lives until the call returns.
    guard unsafe mkfifo(path("fifo"), 0o600) == 0 else { throw Errno(rawValue: errno) }
  }

  var socketPath: FilePath { FilePath(directory.path(of: "socket")) }

  func remove() { directory.remove() }

  private func path(_ name: String) -> String { root.string + "/" + name }
}

// SPDX-License-Identifier: Apache-2.0
import Foundation

/// Lines for people and for the parent process, written immediately, because the reader of a pipe
/// waits for them.
enum Console {
  /// Writes a line to standard output.
  static func say(_ line: String) { FileHandle.standardOutput.write(Data((line + "\n").utf8)) }

  /// Writes a line to standard error.
  static func note(_ line: String) {
    FileHandle.standardError.write(Data(("line-relay: " + line + "\n").utf8))
  }
}

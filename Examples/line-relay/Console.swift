// SPDX-License-Identifier: Apache-2.0
import Foundation

/// Lines for people and for the process that started this one, written immediately: a pipe's reader
/// waits for them.
enum Console {
  /// To standard output.
  static func say(_ line: String) { FileHandle.standardOutput.write(Data((line + "\n").utf8)) }

  /// To standard error.
  static func note(_ line: String) {
    FileHandle.standardError.write(Data(("line-relay: " + line + "\n").utf8))
  }
}

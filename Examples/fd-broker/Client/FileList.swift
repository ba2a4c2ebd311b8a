// SPDX-License-Identifier: Apache-2.0
import Foundation

/// Names of readable files below a directory, relative to it.
struct FileList {
  let names: [String]

  /// - Parameter limit: The number of files that is sufficient.
  init(below root: String, limit: Int) throws {
    guard let enumerator = FileManager.default.enumerator(atPath: root) else {
      throw Failure("the directory '\(root)' cannot be read")
    }
    var found: [String] = []
    while found.count < limit, let name = enumerator.nextObject() as? String {
      guard enumerator.fileAttributes?[.type] as? FileAttributeType == .typeRegular else {
        continue
      }
      guard FileManager.default.isReadableFile(atPath: root + "/" + name) else { continue }
      found.append(name)
    }
    guard !found.isEmpty else { throw Failure("there is no readable file below '\(root)'") }
    names = found.sorted()
  }

  /// Starts again at the end of the list.
  subscript(wrapping index: Int) -> String { names[index % names.count] }
}

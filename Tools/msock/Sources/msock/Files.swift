// SPDX-License-Identifier: Apache-2.0
import CMsock
import MessageSockets

/// The files that a user has named, opened.
enum Files {
  /// Opens files as below, on a thread of its own: opening a FIFO waits for its writer.
  static func openInBackground(_ paths: [String], numbers: [Int32]) async throws -> OwnedFds {
    try await awayFromTheLoop { FilesInTransit(try open(paths, numbers: numbers)) }.take()
  }

  /// Opens files to read, and duplicates descriptors that this process was given.
  ///
  /// - Parameter paths: `-` is standard input.
  static func open(_ paths: [String], numbers: [Int32]) throws -> OwnedFds {
    let count = paths.count + numbers.count
    guard count <= ControlMessages.maximumDescriptors else {
      throw Failure(
        .notAdmitted,
        "\(count) files are more than the \(ControlMessages.maximumDescriptors) that a message may "
          + "carry; send them in several"
      )
    }
    var files = OwnedFds()
    for path in paths { files.append(path == "-" ? try duplicateGiven(0) : try open(path)) }
    for number in numbers { files.append(try duplicateGiven(number)) }
    return files
  }

  private static func open(_ path: String) throws -> OwnedFd {
    do {
      return OwnedFd(
        adopting: try FileDescriptor.open(FilePath(path), .readOnly, options: .closeOnExec))
    } catch let error as Errno {
      throw Failure(Failure.status(of: error), "'\(path)' cannot be opened: \(error)")
    }
  }

  /// A duplicate of what the user has given: not of a descriptor of msock's own, nor of what stands
  /// in for a standard one that is closed.
  private static func duplicateGiven(_ number: Int32) throws -> OwnedFd {
    guard msock_may_pass(number) else { throw notOpen(number) }
    return try duplicate(number)
  }

  private static func notOpen(_ number: Int32) -> Failure {
    Failure(
      .notFound, "descriptor \(number) is not open; give it in the shell: msock … \(number)<FILE")
  }

  /// - Parameter lowest: The least number that the duplicate may get.
  static func duplicate(_ number: Int32, from lowest: Int32 = 3) throws -> OwnedFd {
    guard msock_is_open(number) else { throw notOpen(number) }
    // The number stays this process's own: only a duplicate is owned.
    let copy = msock_duplicate(number, lowest)
    guard copy >= 0 else { throw Errno(rawValue: -copy) }
    return OwnedFd(adopting: FileDescriptor(rawValue: copy))
  }

  /// Copies what descriptors have to standard output, one after the other, each from where it
  /// stands until its end.
  ///
  /// - Parameter first: The number of the first one among those that came.
  static func copyToOutput(
    _ files: consuming OwnedFds, first: Int = 0, _ option: ProgressOption
  ) async throws {
    let transit = FilesInTransit(files)
    let progress = option.begin()
    try await awayFromTheLoop {
      var progress = progress
      var files = transit.take()
      var number = first
      while let file = files.takeFirst() {
        try copyToOutput(file, number, &progress)
        number += 1
      }
    }
  }

  private static func copyToOutput(
    _ file: borrowing OwnedFd, _ number: Int, _ progress: inout Progress
  ) throws {
    var piece = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      let count: Int
      do {
        count = try file.withUnsafeFileDescriptor { file in
          // SAFETY: the buffer outlives the call.
          try unsafe piece.withUnsafeMutableBytes { unsafe try file.read(into: $0) }
        }
      } catch let error as Errno {
        let what = Description(file).line
        throw Failure(
          Failure.status(of: error), "descriptor \(number), \(what), cannot be read: \(error)")
      }
      if count == 0 { return }
      try Console.write(Array(piece[..<count]))
      progress.add(count)
    }
  }
}

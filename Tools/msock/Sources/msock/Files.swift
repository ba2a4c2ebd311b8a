// SPDX-License-Identifier: Apache-2.0
import CMsock
import MessageSockets

/// The files that the user has named, opened.
enum Files {
  /// Opens files on a separate thread, because opening a FIFO waits for its writer.
  static func openInBackground(_ paths: [String], numbers: [Int32]) async throws -> OwnedFds {
    try await awayFromTheLoop { FilesInTransit(try open(paths, numbers: numbers)) }.take()
  }

  /// Opens files for reading, and duplicates descriptors with which this process was started.
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

  /// Duplicates a descriptor from the user: not one of msock's own, nor one that replaces a closed
  /// standard descriptor.
  private static func duplicateGiven(_ number: Int32) throws -> OwnedFd {
    guard msock_may_pass(number) else { throw notOpen(number) }
    return try duplicate(number)
  }

  private static func notOpen(_ number: Int32) -> Failure {
    Failure(
      .notFound, "descriptor \(number) is not open; give it in the shell: msock … \(number)<FILE")
  }

  /// - Parameter lowest: The lowest number that the duplicate may get.
  static func duplicate(_ number: Int32, from lowest: Int32 = 3) throws -> OwnedFd {
    guard msock_is_open(number) else { throw notOpen(number) }
    // This process keeps the number itself: only the duplicate has an owner.
    let copy = msock_duplicate(number, lowest)
    guard copy >= 0 else { throw Errno(rawValue: -copy) }
    return OwnedFd(adopting: FileDescriptor(rawValue: copy))
  }

  /// Copies the contents of descriptors to standard output, one after the other, each from its
  /// current offset to its end.
  ///
  /// - Parameter first: The number of the first one among those that were received.
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

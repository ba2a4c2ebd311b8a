// SPDX-License-Identifier: Apache-2.0
import Foundation
import Glibc
import MessageSockets

/// Copies bytes between a terminal's master and the program's input and output, on a thread of its
/// own.
///
/// A terminal is no socket, and a loop does not read it. Neither is O_NONBLOCK set on it, as
/// Dispatch I/O would do: this flag belongs to the open file, which the sender may share. The
/// thread waits in poll(2), and then makes calls that have something to do.
final class Relay: Sendable {
  private let terminal: Terminal
  private let input: Int32
  private let output: Int32
  /// The thread waits for the end of the first socket; cancellation shuts down the second.
  private let stop: OwnedFd
  private let stopper: OwnedFd

  /// - Parameters:
  ///   - input: Read until its end; -1: nothing is typed. Stays open.
  ///   - output: What the container prints goes here. Stays open.
  init(_ terminal: Terminal, input: Int32, output: Int32) throws {
    self.terminal = terminal
    self.input = input
    self.output = output
    var ends: [Int32] = [-1, -1]
    let kind = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
    // SAFETY: the kernel writes two numbers.
    guard unsafe socketpair(AF_UNIX, kind, 0, &ends) == 0 else { throw Errno(rawValue: errno) }
    stop = OwnedFd(adopting: FileDescriptor(rawValue: ends[0]))
    stopper = OwnedFd(adopting: FileDescriptor(rawValue: ends[1]))
  }

  /// Returns when the container has closed its terminal.
  ///
  /// - Throws: `CancellationError`; `Errno` if the output cannot be written.
  func run() async throws {
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { ended in
        Thread { ended.resume(with: Result { try self.copy() }) }.start()
      }
    } onCancel: {
      stopper.withUnsafeFileDescriptor { _ = Glibc.shutdown($0.rawValue, Int32(SHUT_WR)) }
    }
  }

  /// At most this many bytes are held in each direction: a pipe that is ready takes as many.
  private static let capacity = 4096

  private func copy() throws {
    let master = terminal.master.withUnsafeFileDescriptor { $0.rawValue }
    let stop = stop.withUnsafeFileDescriptor { $0.rawValue }
    var typed: ArraySlice<UInt8> = []
    var printed: ArraySlice<UInt8> = []
    var input = input
    while true {
      let events = try Self.wait(for: [
        (stop, POLLIN),
        (master, (printed.isEmpty ? POLLIN : 0) | (typed.isEmpty ? 0 : POLLOUT)),
        (typed.isEmpty ? input : -1, POLLIN),
        (printed.isEmpty ? -1 : output, POLLOUT),
      ])
      if events[0] != 0 { throw CancellationError() }
      if events[3] != 0 { try Self.write(&printed, atMost: Self.capacity, to: output) }
      if events[2] != 0 {
        typed = try Self.read(input)
        if typed.isEmpty { input = -1 }
      }
      if events[1] & Int16(POLLHUP | POLLERR) != 0 {
        // Nothing reads what is typed from now on. What was printed can still be read.
        typed = []
        input = -1
      } else if events[1] & Int16(POLLOUT) != 0 {
        // One byte: a terminal that has room for one may not have room for two, and would block.
        try Self.write(&typed, atMost: 1, to: master)
      }
      if events[1] & Int16(POLLIN | POLLHUP | POLLERR) != 0, printed.isEmpty {
        do { printed = try Self.read(master) } catch let error as Errno where error == .ioError {}
        // The last process has closed the terminal.
        if printed.isEmpty { return }
      }
    }
  }

  /// Returns what is ready of each descriptor.
  private static func wait(for wanted: [(number: Int32, events: Int32)]) throws -> [Int16] {
    // The kernel reports the end of a terminal in any case; without this, the thread would spin
    // while the output is full.
    var list = wanted.map {
      pollfd(fd: $0.events == 0 ? -1 : $0.number, events: Int16($0.events), revents: 0)
    }
    // SAFETY: the kernel reads and writes this many entries.
    while unsafe poll(&list, nfds_t(list.count), -1) < 0 {
      guard errno == EINTR else { throw Errno(rawValue: errno) }
    }
    return list.map(\.revents)
  }

  private static func read(_ number: Int32) throws -> ArraySlice<UInt8> {
    let descriptor = FileDescriptor(rawValue: number)
    return unsafe try [UInt8](unsafeUninitializedCapacity: capacity) { bytes, count in
      // SAFETY: the kernel writes at most as many bytes as there is room for.
      count = unsafe try descriptor.read(into: UnsafeMutableRawBufferPointer(bytes))
    }[...]
  }

  private static func write(_ bytes: inout ArraySlice<UInt8>, atMost count: Int, to number: Int32)
    throws
  {
    // SAFETY: the bytes are borrowed during the call.
    let written = unsafe try bytes.prefix(count).withUnsafeBytes {
      unsafe try FileDescriptor(rawValue: number).write($0)
    }
    bytes = bytes.dropFirst(written)
  }
}

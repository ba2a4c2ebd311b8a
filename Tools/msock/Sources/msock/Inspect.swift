// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import CMsock
import Foundation
import Glibc
import MessageSockets

struct Inspect: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Shows descriptors: kind, access, seals, and what they lead to.",
    discussion: """
      Without a PID, those that this process was given, of the first 4,096 numbers. Another process's are duplicated to \
      look at them (pidfd_getfd(2)), which needs the right to trace it; without that right \
      only what /proc/PID/fd shows is shown, with '?' for the access.

        msock inspect --fd 3 3</etc/hostname
        msock inspect "$(pidof app)" --json
      """
  )

  @Argument(help: "The process.")
  var pid: Int32?

  @Option(help: ArgumentHelp("Only this descriptor; may be repeated.", valueName: "number"))
  var fd: [Int32] = []

  @Flag(help: "Print one line of JSON.")
  var json = false

  func run() async throws {
    try await reportingFailures {
      let found = try pid.map { try Self.descriptors(of: $0) } ?? Self.own()
      for number in fd where !found.contains(where: { $0.fd == number }) {
        throw Failure(
          .notFound, "descriptor \(number) is not open\(pid.map { " in process \($0)" } ?? "")")
      }
      let wanted = found.filter { fd.isEmpty || fd.contains($0.fd ?? -1) }
      if json { return try Console.sayJSON(wanted) }
      try Console.sayTable([Description.header] + wanted.map(\.row))
    }
  }

  /// The numbers in /proc/PID/fd, in order.
  private static func numbers(of process: Int32) throws -> [Int32] {
    do {
      return try FileManager.default.contentsOfDirectory(atPath: "/proc/\(process)/fd").compactMap {
        Int32($0)
      }.sorted()
    } catch {
      let isThere = FileManager.default.fileExists(atPath: "/proc/\(process)")
      throw isThere ? notPermitted(process) : Failure(.notFound, "there is no process \(process)")
    }
  }

  private static func notPermitted(_ process: Int32) -> Failure {
    Failure(
      .notPermitted, "the descriptors of process \(process) may not be seen; try it as root")
  }

  private static func own() throws -> [Description] {
    try numbers(of: getpid()).filter { msock_was_given($0) }.map { number in
      Description(try Files.duplicate(number), fd: number)
    }
  }

  private static func descriptors(of process: Int32) throws -> [Description] {
    let numbers = try numbers(of: process)
    let opened = msock_pidfd_open(process)
    defer { if opened >= 0 { _ = OwnedFd(adopting: FileDescriptor(rawValue: opened)) } }
    return try numbers.compactMap { number in
      let target: String
      do throws(Errno) { target = try Description.readTarget(of: process, number) } catch {
        guard error == .permissionDenied || error == .notPermitted else {
          // The descriptor has been closed in the meantime.
          return nil
        }
        throw notPermitted(process)
      }
      let copy = opened >= 0 ? msock_pidfd_getfd(opened, number) : -1
      guard copy < 0 else {
        return Description(OwnedFd(adopting: FileDescriptor(rawValue: copy)), fd: number)
      }
      // We may not trace the process, or the descriptor has gone.
      return Description(fd: number, kind: kind(of: target), target: target)
    }
  }

  /// The kind that the link's text alone shows.
  private static func kind(of target: String) -> String {
    if target.hasPrefix("/memfd:") { return "memory file" }
    if target.hasPrefix("/") { return "file" }
    if target.hasPrefix("anon_inode:") {
      return target.dropFirst("anon_inode:".count).trimmingCharacters(
        in: CharacterSet(charactersIn: "[]"))
    }
    return target.prefix { $0 != ":" }.description
  }
}

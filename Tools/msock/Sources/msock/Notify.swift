// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Foundation
import MessageSockets
import ServiceManagement

struct Notify: LoopCommand {
  static let configuration = CommandConfiguration(
    abstract: "Tells the service manager about this service: READY=1, STATUS=…",
    discussion: """
      Sends the lines to the socket that $NOTIFY_SOCKET names, as sd_notify(3) does. With --fd \
      descriptors go along, for the manager's store:

        msock notify FDSTORE=1 FDNAME=listener --fd 3

      Waits until the manager has processed the message, 5 seconds at most: a manager finds the \
      service by its process, which ends with this program.
      """
  )

  @Argument(help: "Assignments, each a line of the message.")
  var assignments: [String]

  @Option(help: ArgumentHelp("Send this descriptor along; may be repeated.", valueName: "number"))
  var fd: [Int32] = []

  @Flag(help: "Do not wait until the manager has processed the message.")
  var noWait = false

  @OptionGroup var limits: Limits

  func validate() throws {
    for assignment in assignments
    where !assignment.dropFirst().contains("=") || assignment.hasPrefix("=")
      || assignment.contains("\n")
    {
      throw ValidationError("'\(assignment)' is no assignment such as READY=1")
    }
  }

  func run(on loop: IOLoop) async throws {
    let manager = ServiceNotifier(on: loop)
    guard manager.hasManager else {
      throw Failure(
        .unavailable, "NOTIFY_SOCKET is not set: this is not a service that notifies (Type=notify)")
    }
    do {
      if fd.isEmpty {
        try await manager.notify(fields)
      } else {
        try await send(try Files.open([], numbers: fd), on: loop)
      }
      if !noWait { try await manager.barrier(deadline: .now + .seconds(limits.timeout ?? 5)) }
    } catch let error as ServiceError {
      throw Failure(.unavailable, "\(error)")
    } catch let error as SocketError where error.code == .deadlineExceeded {
      throw Failure(
        .timeIsUp, "the service manager has not answered; --no-wait does not wait for it")
    }
  }

  private var fields: [NotifyField] {
    assignments.map { assignment in
      let parts = assignment.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      return NotifyField(String(parts[0]), String(parts[1]))
    }
  }

  /// Sends the notification with descriptors, whatever their purpose.
  private func send(_ files: consuming OwnedFds, on loop: IOLoop) async throws {
    let place = ProcessInfo.processInfo.environment["NOTIFY_SOCKET"] ?? ""
    guard place.hasPrefix("/") || place.hasPrefix("@") else {
      throw Failure(
        .unavailable, "NOTIFY_SOCKET is '\(place)', and only paths and @NAME are spoken to")
    }
    let socket = try UnixDatagram.bind(to: .autobind, on: loop)
    let text = assignments.joined(separator: "\n")
    let address = try UnixAddress(argument: place)
    let transit = FilesInTransit(files)
    try await loop.withDeadline(.now + .seconds(limits.timeout ?? 5)) {
      let files = transit.take()
      try await socket.sendMessage(Array(text.utf8), descriptors: files.span, to: address)
    }
    await socket.close()
  }
}

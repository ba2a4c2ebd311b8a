// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Foundation
import MessageSockets
import Varlink

struct Call: LoopCommand {
  static let configuration = CommandConfiguration(
    abstract: "Calls a method of a Varlink service.",
    discussion: """
      The address may also be written as Varlink has it, unix:PATH. Parameters are a JSON object, \
      and name descriptors by their index. Descriptors that come with a reply are described on \
      standard error, or copied to standard output by --cat:

        msock call /run/broker.sock org.varlink.service.GetInfo
        msock call /run/app.sock com.example.Take '{"file":0}' --push-fd 5 5</etc/hostname

      When the service answers with an error, that is printed, and the status is 1.
      """
  )

  @Argument(help: "Where the service listens.", completion: .file())
  var address: String

  @Argument(help: "The interface, a dot, and the method.")
  var method: String

  @Argument(help: "The parameters.")
  var parameters = "{}"

  @Option(
    help: ArgumentHelp(
      "Send this descriptor along; may be repeated, and counts from 0.", valueName: "number"))
  var pushFd: [Int32] = []

  @Flag(help: "Ask for several replies, and print each as a line.")
  var more = false

  @Flag(help: "Copy the contents of descriptors that come with a reply to standard output.")
  var cat = false

  @OptionGroup var progress: ProgressOption
  @OptionGroup var limits: Limits

  func validate() throws {
    guard (try? JSONSerialization.jsonObject(with: Data(parameters.utf8))) is [String: Any] else {
      throw ValidationError("the parameters are no JSON object: '\(parameters.printable)'")
    }
  }

  func run(on loop: IOLoop) async throws {
    let place: VarlinkAddress
    do {
      place =
        try address.hasPrefix("unix:")
        ? VarlinkAddress(address) : VarlinkAddress(UnixAddress(argument: address))
    } catch let error as VarlinkFailure {
      throw Failure(.wrongUsage, "\(error)")
    }
    let files = try Files.open([], numbers: pushFd)
    let client = try await VarlinkClient.connect(to: place, on: loop)
    do {
      if more {
        for try await reply in try await client.callMore(
          method, json: parameters, descriptors: files)
        {
          try await show(reply)
        }
      } else {
        try await show(try await client.call(method, json: parameters, descriptors: files))
      }
    } catch {
      await client.close()
      throw Self.failure(error)
    }
    await client.close()
  }

  private func show(_ reply: VarlinkReply<String>) async throws {
    if !cat { try Console.sayJSON(text: reply.parameters) }
    for index in 0..<reply.descriptorCount {
      let file = try reply.takeDescriptor(at: index)
      if cat {
        var files = OwnedFds()
        files.append(file)
        try await Files.copyToOutput(files, first: index, progress)
      } else {
        Console.note("descriptor \(index): \(Description(file).line)")
      }
    }
  }

  /// An error that the service answers is no failure of the connection.
  private static func failure(_ error: any Error) -> any Error {
    switch error {
    case let error as VarlinkError: Failure(.no, "the service answers \(error)")
    case let error as VarlinkFailure:
      switch error.code {
      case .invalidMethodName, .invalidParameters: Failure(.wrongUsage, "\(error)")
      case .connectionEnded: Failure(.unavailable, "\(error)")
      default: Failure(.notAdmitted, "\(error)")
      }
    default: error
    }
  }
}

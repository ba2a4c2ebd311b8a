// SPDX-License-Identifier: Apache-2.0
import MessageSockets
import SystemPackage
import Testing
import Varlink

/// A service for tests: numbers, files, streams, errors.
enum Fixture {
  struct Number: Codable, Sendable, Equatable { var number: Int }
  struct File: Codable, Sendable { var file: Int }
  struct Files: Codable, Sendable { var files: [Int] }
  struct Numbers: Codable, Sendable { var numbers: [Int] }

  static let description = """
    interface com.example.Test
    method Add(number: int) -> (number: int)
    method Open(number: int) -> (file: int)
    method Read(file: int) -> (number: int)
    method ReadAll(files: []int) -> (numbers: []int)
    method Count(number: int) -> (number: int, file: ?int)
    method Fail(number: int) -> ()
    method Wait(number: int) -> ()
    error TooLarge(number: int)
    """

  /// A service whose Open returns files that contain their number, and whose Read reads such files.
  static func service(limits: VarlinkLimits = VarlinkLimits(), waiting: Gate = Gate())
    -> VarlinkService
  {
    var test = VarlinkInterface("com.example.Test", description: description)
    test.method("Add") { (number: Number, _) in Number(number: number.number + 1) }
    test.method("Open") { (number: Number, call) in
      File(file: try call.push(try OwnedFd.numbered(number.number)))
    }
    test.method("Read") { (file: File, call) in
      let descriptor = try call.takeDescriptor(at: file.file)
      return Number(number: try descriptor.number)
    }
    test.method("ReadAll") { (files: Files, call) in
      var numbers: [Int] = []
      for file in files.files {
        let descriptor = try call.takeDescriptor(at: file, parameter: "files")
        numbers.append(try descriptor.number)
      }
      return Numbers(numbers: numbers)
    }
    test.method("Count") { (number: Number, call) in
      for step in 0..<number.number {
        _ = try call.push(try OwnedFd.numbered(step))
        try await call.reply(Number(number: step))
      }
      return Number(number: number.number)
    }
    test.method("Fail") { (number: Number, call) -> VarlinkEmpty in
      // Pushed in vain, because the error drops it.
      _ = try call.push(try OwnedFd.numbered(1))
      if number.number > 0 {
        throw try VarlinkError("com.example.Test.TooLarge", parameters: number)
      }
      throw Errno.ioError
    }
    test.method("Wait") { (number: Number, call) -> VarlinkEmpty in
      try await waiting.wait()
      return VarlinkEmpty()
    }
    var service = VarlinkService(
      vendor: "Example", product: "Test", version: "1", url: "https://example.com", limits: limits)
    service.add(test)
    return service
  }

  /// Runs `body` with a client of the service.
  static func run(
    _ service: VarlinkService = service(), limits: VarlinkLimits = VarlinkLimits(),
    _ body: (VarlinkClient) async throws -> Void
  ) async throws {
    let (ours, theirs) = try UnixStream.makePair()
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask {
        do { try await service.handle(theirs) } catch {
          await theirs.close()
          throw error
        }
        await theirs.close()
      }
      let client = VarlinkClient(ours, limits: limits)
      do { try await body(client) } catch {
        await client.close()
        throw error
      }
      await client.close()
      try await group.waitForAll()
    }
  }

  /// Runs `body` as a client that sends raw bytes. Returns the error with which the service ends
  /// the connection.
  static func runRaw(
    _ service: VarlinkService = service(), _ body: (UnixStream) async throws -> Void
  ) async throws -> (any Error)? {
    let (ours, theirs) = try UnixStream.makePair()
    return try await withThrowingTaskGroup(of: (any Error)?.self) { group in
      group.addTask {
        defer { theirs.startDraining() }
        do {
          try await service.handle(theirs)
          await theirs.close()
          return nil
        } catch {
          await theirs.close()
          return error
        }
      }
      try await body(ours)
      try await ours.shutdown(.sending)
      while try await ours.receiveMessage() != nil {}
      await ours.close()
      return try await group.next()!
    }
  }
}

/// A gate that opens once.
actor Gate {
  private var isOpen = false
  private var waiters: [CheckedContinuation<Void, Never>] = []
  private var arrivals = 0
  private var arrivalWaiters: [(Int, CheckedContinuation<Void, Never>)] = []

  /// Returns when the gate is open or the task is cancelled.
  func wait() async throws {
    arrivals += 1
    for (count, waiter) in arrivalWaiters where arrivals >= count { waiter.resume() }
    arrivalWaiters.removeAll { arrivals >= $0.0 }
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        if isOpen || Task.isCancelled {
          continuation.resume()
        } else {
          waiters.append(continuation)
        }
      }
    } onCancel: {
      Task { await open() }
    }
    try Task.checkCancellation()
  }

  func open() {
    isOpen = true
    for waiter in waiters { waiter.resume() }
    waiters = []
  }

  /// Waits until `count` tasks have arrived at the gate.
  func untilArrivals(are count: Int) async {
    if arrivals >= count { return }
    await withCheckedContinuation { arrivalWaiters.append((count, $0)) }
  }
}

extension Task where Failure == any Error {
  var failure: (any Error)? {
    get async {
      do {
        _ = try await value
        return nil
      } catch { return error }
    }
  }
}

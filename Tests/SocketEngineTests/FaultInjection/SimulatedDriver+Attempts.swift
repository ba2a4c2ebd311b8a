// SPDX-License-Identifier: Apache-2.0
import CMessageSockets
import Glibc
import SeededRandom

@testable import SocketEngine

// How the simulated kernel processes one request.

extension SimulatedDriver {
  /// Fails the request with any errno. Nothing was transferred.
  func fail(_ operation: SubmittedOperation) {
    var errno = Int32(random.number(1...133))
    // ECANCELED needs a cancellation; on EAGAIN, connecting would wait on the clock.
    if errno == ECANCELED || errno == EAGAIN { errno = ENOBUFS }
    ledger.count("errors")
    note(errno, for: operation)
    complete(operation, -errno)
  }

  /// Performs as much of the request as possible; leaves it waiting if nothing is possible.
  func attempt(_ operation: SubmittedOperation) {
    switch operation.request {
    case .send: send(operation)
    case .receive: receive(operation)
    case .receiveWhenReadable:
      let socket = sockets[operation.number]!
      let queue = queues[socket.incoming]
      // Readiness may also turn out to be false, because another process was faster.
      if !queue.messages.isEmpty || queue.isClosed || !isCalm && random.oneIn(20) {
        complete(operation, 1)
      }
    case .receiveAhead: receiveAhead(operation)
    case .accept:
      guard let socket = sockets[operation.number], socket.connections > 0 else {
        // As an old kernel does if the listener is `O_NONBLOCK`.
        if !isCalm, random.oneIn(8) { complete(operation, -EAGAIN) }
        return
      }
      sockets[operation.number]!.connections -= 1
      ledger.connectionsMade += 1
      complete(operation, SimulatedFiles.make(ledger.connectionsMade))
    case .acceptAfterCancellation: stop("this driver loses no news of connections")
    case .acceptWhenReadable:
      let isReady = sockets[operation.number].map { $0.connections > 0 } ?? false
      if isReady || !isCalm && random.oneIn(20) { complete(operation, 1) }
    case .connect: complete(operation, 0)
    case .awaitConnection: stop("no socket here is one of vsock")
    case .pauseSending, .pauseReceiving: complete(operation, -ETIME)
    case .waitForMessage, .event, .timer: stop("\(operation.request) is not the kernel's")
    }
  }

  private func note(_ errno: Int32, for operation: SubmittedOperation) {
    guard let socket = sockets[operation.number] else { return }
    switch operation.request {
    // The engine tries again after a signal.
    case .send where errno != EINTR: withSending(of: operation) { $0.errno = errno }
    case .receive where errno != EINTR, .receiveWhenReadable where errno != EINTR:
      ledger.directions[socket.incoming].errors.append(errno)
    case .receiveAhead where errno != EINTR && errno != ENOBUFS:
      ledger.directions[socket.incoming].errors.append(errno)
    default: break
    }
  }

  // MARK: Sending

  private func send(_ operation: SubmittedOperation) {
    let socket = sockets[operation.number]!
    let payload = operation.payload
    if queues[socket.outgoing].isClosed {
      note(EPIPE, for: operation)
      return complete(operation, -EPIPE)
    }
    guard var count = queues[socket.outgoing].room(for: payload.count) else { return }
    if queues[socket.outgoing].isStream, random.oneIn(3) { count = random.number(1...count) }
    if count < payload.count { ledger.count("short sends") }
    let files = heldFiles(of: operation)
    withSending(of: operation) { sending in
      let expected = sending.bytes[sending.sentBytes...]
      if Array(expected) != payload { ledger.violate("a send does not continue where it stopped") }
      let ids = files.map(\.id)
      if ids != (sending.isSent ? [] : sending.ids) {
        ledger.violate("a send carries descriptors \(ids) instead of \(sending.ids)")
      }
      sending.sentBytes += count
      sending.sentFiles = sending.sentFiles || !files.isEmpty
      sending.isSent = true
    }
    queues[socket.outgoing].push(Array(payload.prefix(count)), files)
    ledger.directions[socket.outgoing].sentBytes += count
    ledger.directions[socket.outgoing].sentMessages += 1
    complete(operation, Int32(count))
  }

  /// Duplicates of the files in the control bytes at this moment.
  private func heldFiles(of operation: SubmittedOperation) -> [SimulatedQueue.File] {
    SimulatedControl.numbers(in: operation.control).map { number in
      let held = SimulatedFiles.duplicate(number)
      guard let id = ledger.lent[number], held >= 0 else {
        stop("a send names descriptor \(number), which its task does not lend")
      }
      return SimulatedQueue.File(id: id, number: held)
    }
  }

  /// Passes the message of a send to `body`. Its bytes begin with its number; if it has no bytes,
  /// its first descriptor has the number. When the operation continues, its message is looked up by
  /// the operation.
  private func withSending(of operation: SubmittedOperation, _ body: (inout Ledger.Sending) -> Void)
  {
    let number = sendings[operation.id] ?? firstNumber(in: operation)
    sendings[operation.id] = number
    guard ledger.sendings[number] != nil else { return ledger.violate("a send without a message") }
    body(&ledger.sendings[number]!)
  }

  private func firstNumber(in operation: SubmittedOperation) -> UInt64 {
    let payload = operation.payload
    if payload.count >= 8 { return payload.withUnsafeBytes { $0.loadUnaligned(as: UInt64.self) } }
    return SimulatedControl.numbers(in: operation.control).first.flatMap { ledger.lent[$0] }.map {
      $0 >> 8
    } ?? 0
  }

  // MARK: Receiving

  private func receive(_ operation: SubmittedOperation) {
    let socket = sockets[operation.number]!
    if operation.flags & cms_msg_errqueue != 0 { return complete(operation, -EAGAIN) }
    if operation.flags & cms_msg_peek != 0 { return peek(operation, at: socket) }
    guard let message = queues[socket.incoming].pop(limit: operation.payloadRoom) else {
      guard socket.isAtEnd(of: queues[socket.incoming]) else {
        if operation.flags & cms_msg_dontwait != 0 { complete(operation, -EAGAIN) }
        return
      }
      ledger.count("ends")
      if !operation.isStable { ledger.violate("memory of a receive changed before its completion") }
      operation.fill([], [], flags: 0)
      return complete(operation, 0, written: true)
    }
    if !operation.isStable { ledger.violate("memory of a receive changed before its completion") }
    let delivery = deliver(
      message, to: socket, closeOnExec: operation.flags & cms_msg_cmsg_cloexec != 0)
    operation.fill(message.bytes, delivery.control, flags: delivery.flags)
    complete(operation, Int32(message.bytes.count), written: true)
  }

  /// Peeks at the next message, with descriptors of its own; the message stays.
  private func peek(_ operation: SubmittedOperation, at socket: SimulatedSocket) {
    var copy = queues[socket.incoming]
    let next = copy.pop(limit: operation.payloadRoom)
    guard next != nil || socket.isAtEnd(of: queues[socket.incoming]) else {
      if operation.flags & cms_msg_dontwait != 0 { complete(operation, -EAGAIN) }
      return
    }
    let numbers = (next?.files ?? []).map { SimulatedFiles.duplicate($0.number) }
    if !operation.isStable { ledger.violate("memory of a receive changed before its completion") }
    operation.fill(
      next?.bytes ?? [], numbers.isEmpty ? [] : SimulatedControl.rights(numbers), flags: 0)
    complete(operation, Int32(next?.bytes.count ?? 0), written: true)
  }

  /// One round of a multishot receive: some messages, and the kernel may end the receive after any
  /// of them.
  private func receiveAhead(_ operation: SubmittedOperation) {
    let socket = sockets[operation.number]!
    let buffers = simulatedBuffers!
    for _ in 0..<random.number(1...4) {
      let isEnd = queues[socket.incoming].messages.isEmpty
      if isEnd, !socket.isAtEnd(of: queues[socket.incoming]) { return }
      guard let id = buffers.take() else {
        ledger.count("buffers exhausted")
        return complete(operation, -ENOBUFS)
      }
      let buffer = buffers.bytes(of: id)
      let controlStart = ReceiveBuffers.headerSize + operation.operation.receivedNameSize
      let start = controlStart + buffers.controlSize
      let message =
        isEnd ? SimulatedQueue.Message() : queues[socket.incoming].pop(limit: buffer.count - start)!
      if isEnd { ledger.count("ends") }
      let delivery =
        isEnd ? (control: [], flags: 0) : deliver(message, to: socket, closeOnExec: true)
      let header = cms_received_header(
        name_length: 0, control_length: UInt32(delivery.control.count),
        payload_length: UInt32(message.bytes.count),
        flags: UInt32(bitPattern: delivery.flags | cms_msg_cmsg_cloexec))
      buffer.storeBytes(of: header, as: cms_received_header.self)
      UnsafeMutableRawBufferPointer(rebasing: buffer[controlStart...]).copyBytes(
        from: delivery.control)
      UnsafeMutableRawBufferPointer(rebasing: buffer[start...]).copyBytes(from: message.bytes)
      // An empty message ends the receive, as the end of the stream does. Other causes may do so
      // too, above all an overflowed completion queue.
      let isLast = message.bytes.isEmpty || random.oneIn(8)
      let more: UInt32 = isLast ? 0 : cms_completion_more
      complete(
        operation, Int32(start + message.bytes.count),
        flags: UInt32(id) << 16 | cms_completion_buffer | more)
      if isLast { return }
    }
  }

  /// Installs the files of a message, or loses some like a kernel without free descriptors, and
  /// writes the control bytes.
  private func deliver(
    _ message: SimulatedQueue.Message, to socket: SimulatedSocket, closeOnExec: Bool
  ) -> (control: [UInt8], flags: Int32) {
    var files = message.files[...]
    var flags: Int32 = message.isTruncated ? cms_msg_trunc : 0
    if !isCalm, !files.isEmpty, random.oneIn(10) {
      let kept = random.number(0...files.count - 1)
      for file in files.dropFirst(kept) { _ = cms_close(file.number) }
      files = files.prefix(kept)
      flags |= cms_msg_ctrunc
      ledger.count("descriptors lost")
    }
    for file in files where !closeOnExec { _ = fcntl(file.number, F_SETFD, 0) }
    var control = random.oneIn(6) && !message.bytes.isEmpty ? SimulatedControl.inquiry : []
    if !files.isEmpty { control += SimulatedControl.rights(files.map(\.number)) }
    ledger.directions[socket.incoming].delivered.append(
      Ledger.Received(
        bytes: message.bytes, ids: files.map(\.id), isTruncated: message.isTruncated,
        lacksFiles: flags & cms_msg_ctrunc != 0))
    ledger.count("messages")
    checkWindow(socket.incoming)
    return (control, flags)
  }

  /// Checks the window. It may be exceeded by as many messages as there are buffers, or twice as
  /// many if the buffers may be filled once more before the kernel sees the cancellation, plus
  /// those whose tasks have not run yet.
  private func checkWindow(_ index: Int) {
    let direction = ledger.directions[index]
    let ahead = direction.delivered.count - direction.received.count
    let most =
      Ledger.largestWindow + (simulatedBuffers?.total ?? 0) * (cancelsFirst ? 1 : 2)
      + direction.waiting
    if !direction.isStream, !direction.mayHaveDropped, ahead > most {
      ledger.violate("\(ahead) messages were received ahead, of at most \(most)")
    }
  }
}

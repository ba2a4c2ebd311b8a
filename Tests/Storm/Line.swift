// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets

/// One connection, from its creation to the comparison of the sent and the received messages.
struct Line {
  let plan: Plan
  let circumstances: Circumstances
  /// Whether the loop is shut down during the run.
  let isMortal: Bool

  /// Runs the connection. Its sockets live on `loop` and `other` if they can live on two loops.
  func run(on loop: IOLoop, and other: IOLoop) async {
    do {
      switch plan.kind {
      case .datagram: await run(try Ends(UnixDatagram.makePair(on: loop)))
      case .stream: await run(try await connect(UnixStream.self, on: loop, and: other))
      case .seqpacket: await run(try await connect(UnixSeqpacket.self, on: loop, and: other))
      }
    } catch let error as SocketError where error.code == .loopShutDown && isMortal {
    } catch {
      circumstances.tally.violate("no connection: \(error)")
    }
  }

  private func connect<Socket: UnixConnection & UnixSocket>(
    _: Socket.Type, on loop: IOLoop, and other: IOLoop
  ) async throws -> Ends<Socket> {
    guard plan.isConnected else { return Ends(try Socket.makePair(on: loop)) }
    let address = UnixAddress("@storm-\(getpid())-\(plan.line)")!
    let listener = try UnixListener<Socket>.bind(to: address, backlog: 1, on: other)
    async let accepted = listener.accept()
    let sender = try await Socket.connect(to: address, on: loop)
    let ends = Ends((sender, try await accepted))
    await listener.close()
    return ends
  }

  private func run<Socket: UnixSocket>(_ ends: Ends<Socket>) async {
    circumstances.tally.add(.connections)
    circumstances.tally.begin(
      plan.line,
      "\(plan.kind) \(plan.line), fate \(plan.fate)\(isMortal ? ", its loop shut down" : "")")
    defer { circumstances.tally.end(plan.line) }
    let (plan, circumstances, isMortal) = (plan, circumstances, isMortal)
    if let size = plan.sendBuffer { await ends.setSendBufferSize(size) }
    let sending = Self.start(ends.takeSender(), plan.sendsOnLoop) { socket in
      var sender = Sender(socket, plan, circumstances, isMortal: isMortal)
      return await sender.run()
    }
    let receiving = Self.start(ends.takeReceiver(), plan.receivesOnLoop) { socket in
      var receiver = Receiver(socket, plan, circumstances, isMortal: isMortal)
      await receiver.run()
      return receiver.arrivals
    }
    compare(await sending.value, await receiving.value)
  }

  private static func start<Socket: UnixSocket, R: Sendable>(
    _ socket: Socket, _ onLoop: Bool, _ body: @escaping @Sendable (Socket) async -> R
  ) -> Task<R, Never> {
    Task(executorPreference: onLoop ? socket.loop.taskExecutor : nil) { await body(socket) }
  }

  private func compare(_ sent: UInt64, _ arrivals: Arrivals) {
    let mustBeAll = !isMortal && plan.fate != .receiverCloses && plan.fate != .receiverDrops
    if mustBeAll, arrivals.next != sent || !arrivals.isAtBoundary {
      circumstances.tally.violate(
        "\(plan.kind) \(plan.line), fate \(plan.fate): \(sent) messages were sent, \(arrivals.next) received"
      )
    }
    // A send during which the loop has ended may have gone out.
    if !mustBeAll, arrivals.next > sent, !isMortal || arrivals.next > sent + 1 {
      circumstances.tally.violate(
        "\(plan.kind) \(plan.line), fate \(plan.fate): \(sent) messages were sent, \(arrivals.next) received"
      )
    }
  }
}

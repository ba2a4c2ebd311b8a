import MessageSockets
import Testing

@Suite(.serialized) struct FirstTests {
  @Test func pair() async throws {
    let loop = try IOLoop()
    try await loop.run {
      let (a, b) = try UnixStream.makePair()
      try await a.sendMessage([1, 2, 3])
      let m = try await b.receiveMessage()
      #expect(m?.payload == [1, 2, 3])
      await a.close()
      let end = try await b.receiveMessage()
      #expect(end == nil)
      let before = await loop.statistics
      let (c, d) = try UnixStream.makePair()
      for _ in 0..<1000 {
        try await c.sendMessage([1, 2, 3])
        _ = try await d.receiveMessage()
      }
      let after = await loop.statistics
      print(after.hops - before.hops, after.localEnqueues - before.localEnqueues, after.enters - before.enters, after.jobs - before.jobs)
      print(after)
    }
    await loop.shutdown()
  }
}

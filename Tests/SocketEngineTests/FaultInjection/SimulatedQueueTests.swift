// SPDX-License-Identifier: Apache-2.0
import Testing

@Suite struct SimulatedQueueTests {
  /// Like Linux: after sends of A, B with a file, C, D with a file, and E, the receives return
  /// (AB,1) (CD,1) (E,0).
  @Test func aStreamStopsAfterASendWithFiles() {
    var queue = SimulatedQueue(isStream: true, capacity: 100)
    let files = [SimulatedQueue.File(id: 1, number: -1), SimulatedQueue.File(id: 2, number: -1)]
    for (byte, file) in [(1, nil), (2, files[0]), (3, nil), (4, files[1]), (5, nil)]
      as [(UInt8, SimulatedQueue.File?)]
    {
      queue.push([byte], file.map { [$0] } ?? [])
    }
    #expect(queue.pop(limit: 10) == SimulatedQueue.Message(bytes: [1, 2], files: [files[0]]))
    #expect(queue.pop(limit: 10) == SimulatedQueue.Message(bytes: [3, 4], files: [files[1]]))
    #expect(queue.pop(limit: 10) == SimulatedQueue.Message(bytes: [5]))
    #expect(queue.pop(limit: 10) == nil)
  }

  @Test func theFirstPieceOfASendTakesItsFiles() {
    var queue = SimulatedQueue(isStream: true, capacity: 5)
    let file = SimulatedQueue.File(id: 1, number: -1)
    queue.push([1, 2, 3], [file])
    #expect(queue.room(for: 4) == 2)
    #expect(queue.pop(limit: 2) == SimulatedQueue.Message(bytes: [1, 2], files: [file]))
    #expect(queue.pop(limit: 2) == SimulatedQueue.Message(bytes: [3]))
    #expect(queue.room(for: 9) == 5)
  }

  @Test func aMessageIsReceivedWholeOrCut() {
    var queue = SimulatedQueue(isStream: false, capacity: 4)
    queue.push([1, 2, 3], [])
    #expect(queue.room(for: 2) == nil)
    #expect(queue.pop(limit: 2) == SimulatedQueue.Message(bytes: [1, 2], isTruncated: true))
    #expect(queue.room(for: 9) == 9)
  }
}

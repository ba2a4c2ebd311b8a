// SPDX-License-Identifier: Apache-2.0
import CMessageSockets
import Testing

@testable import SocketEngine

/// The moment at which a loop falls asleep and another thread sends a request.
@Suite struct InboxTests {
  private func isSignalled(_ inbox: Inbox) -> Bool { cms_is_readable(inbox.wakeDescriptor.number) }

  @Test func whatArrivesBeforeTheSleepForbidsIt() throws {
    let inbox = try Inbox()
    inbox.send(.exit)
    #expect(!isSignalled(inbox), "a loop that is awake is not to be woken")
    #expect(!inbox.fallAsleep())
    var items: [Inbox.Item] = []
    inbox.take(into: &items)
    #expect(items.count == 1)
    #expect(inbox.fallAsleep())
  }

  @Test func theFirstThatArrivesInTheSleepEndsIt() throws {
    let inbox = try Inbox()
    #expect(inbox.fallAsleep())
    #expect(!isSignalled(inbox))
    inbox.send(.exit)
    #expect(isSignalled(inbox))
  }
}

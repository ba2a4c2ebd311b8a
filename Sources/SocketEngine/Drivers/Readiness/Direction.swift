// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets

/// Which of a socket's queues an operation stands in, and so what it waits for.
enum Direction: CaseIterable {
  /// Receive, accept.
  case incoming
  /// Receive from the error queue.
  case errors
  /// Receive out-of-band bytes.
  case urgent
  /// Send, connect.
  case outgoing

  init(_ request: OperationRequest) {
    switch request {
    case .receive(let flags) where flags & cms_msg_errqueue != 0: self = .errors
    case .receive(let flags) where flags & cms_msg_oob != 0: self = .urgent
    case .receive, .accept: self = .incoming
    case .send, .connect: self = .outgoing
    case .pauseSending, .receiveWhenReadable, .receiveAhead, .waitForMessage, .event, .timer:
      preconditionFailure("Not a request to this driver")
    }
  }

  /// What to watch for.
  var interest: UInt32 {
    switch self {
    // Errors are always watched for.
    case .errors: 0
    case .urgent: cms_event_urgent
    case .incoming: cms_event_readable | cms_event_peer_shutdown
    case .outgoing: cms_event_writable
    }
  }

  /// Whether an event is a reason to try again.
  func isConcerned(by events: UInt32) -> Bool {
    events & (interest | cms_event_error | cms_event_hangup) != 0
  }
}

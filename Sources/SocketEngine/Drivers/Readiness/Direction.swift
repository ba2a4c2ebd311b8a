internal import CMessageSockets

/// Which of a socket's two queues an operation stands in, and so what it waits for.
enum Direction {
  /// Receive, accept.
  case incoming
  /// Send, connect.
  case outgoing

  init(_ request: OperationRequest) {
    switch request {
    case .receive, .accept: self = .incoming
    case .send, .connect: self = .outgoing
    case .receiveAhead, .waitForMessage, .event, .timer: preconditionFailure("Not a request to this driver")
    }
  }

  /// What to watch for.
  var interest: UInt32 {
    switch self {
    case .incoming: cms_event_readable | cms_event_peer_shutdown
    case .outgoing: cms_event_writable
    }
  }

  /// Whether an event is a reason to try again.
  func isConcerned(by events: UInt32) -> Bool { events & (interest | cms_event_error | cms_event_hangup) != 0 }
}

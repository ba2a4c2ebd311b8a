/// What became of a request. Everything but `opened` is a refusal: a message like any other, after which the connection goes on.
enum Status: UInt8, Error, Sendable {
  case opened = 0
  case notFound = 1
  case outsideRoot = 2
  case symbolicLink = 3
  case notAFile = 4
  case notPermitted = 5
  case malformedRequest = 6
  case failed = 7
}

extension Status: CustomStringConvertible {
  var description: String {
    switch self {
    case .opened: "opened"
    case .notFound: "no such file"
    case .outsideRoot: "outside the served directory"
    case .symbolicLink: "symbolic links are not followed"
    case .notAFile: "not a regular file"
    case .notPermitted: "the broker may not read it"
    case .malformedRequest: "the broker did not understand the request"
    case .failed: "the broker could not open it"
    }
  }
}

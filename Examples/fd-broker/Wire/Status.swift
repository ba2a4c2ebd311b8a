// SPDX-License-Identifier: Apache-2.0
/// The result of a request. Everything except `opened` is a refusal: an ordinary message, after
/// which the connection continues.
enum Status: UInt8, Error, Sendable {
  case opened = 0
  case notFound = 1
  case outsideRoot = 2
  case symbolicLink = 3
  case notAFile = 4
  case notPermitted = 5
  case malformedRequest = 6
  case outOfDescriptors = 7
  case failed = 8
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
    case .outOfDescriptors: "the broker has no descriptor left; try again later"
    case .failed: "the broker could not open it"
    }
  }
}

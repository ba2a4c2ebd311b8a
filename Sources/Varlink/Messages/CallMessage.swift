// SPDX-License-Identifier: Apache-2.0
/// The outer object of a call.
struct CallMessage {
  var method: String
  /// A JSON object.
  var parameters: ArraySlice<UInt8>
  var wantsMore = false
  var isOneway = false
  var wantsUpgrade = false

  /// Decodes a client's message. Members with other names are ignored.
  init(_ payload: ArraySlice<UInt8>) throws(VarlinkFailure) {
    let members = try JSONScanner.members(of: payload)
    guard let name = members["method"] else {
      throw VarlinkFailure(.malformedMessage, detail: "a call without a method")
    }
    method = try JSONScanner.string(in: payload[name])
    parameters = try payload.parameters(members)
    wantsMore = try payload.flag("more", members)
    isOneway = try payload.flag("oneway", members)
    wantsUpgrade = try payload.flag("upgrade", members)
  }

  /// Encodes a call.
  ///
  /// - Throws: ``VarlinkFailure``: `invalidMethodName`.
  static func encode(
    method: String, parameters: [UInt8], wantsMore: Bool = false, isOneway: Bool = false
  ) throws(VarlinkFailure) -> [UInt8] {
    guard MethodName(method) != nil else {
      throw VarlinkFailure(.invalidMethodName, detail: method)
    }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(parameters.count + method.utf8.count + 64)
    bytes += Array(#"{"method":""#.utf8) + Array(method.utf8) + Array(#"","parameters":"#.utf8)
    bytes += parameters
    if wantsMore { bytes += Array(#","more":true"#.utf8) }
    if isOneway { bytes += Array(#","oneway":true"#.utf8) }
    bytes.append(UInt8(ascii: "}"))
    return bytes
  }
}

/// The outer object of a reply.
struct ReplyMessage: Sendable {
  /// A JSON object.
  var parameters: ArraySlice<UInt8>
  /// Whether another reply follows.
  var continues: Bool
  var errorName: String?

  /// Decodes a service's message. Members with other names are ignored.
  init(_ payload: ArraySlice<UInt8>) throws(VarlinkFailure) {
    let members = try JSONScanner.members(of: payload)
    parameters = try payload.parameters(members)
    continues = try payload.flag("continues", members)
    if let name = members["error"], !payload[name].isNull {
      errorName = try JSONScanner.string(in: payload[name])
      // No reply follows an error.
      continues = false
    }
  }

  /// Encodes a reply.
  static func encode(parameters: [UInt8], continues: Bool) -> [UInt8] {
    Array(#"{"parameters":"#.utf8) + parameters
      + Array((continues ? #","continues":true}"# : "}").utf8)
  }

  /// Encodes an error.
  static func encode(_ error: VarlinkError) -> [UInt8] {
    let name = MethodName(error.name) == nil ? VarlinkError.internalError.name : error.name
    return Array(#"{"error":"\#(name)","parameters":\#(error.parametersJSON)}"#.utf8)
  }
}

extension VarlinkError {
  /// Sent in place of an error whose name is invalid and would break the message, or that is too
  /// long.
  static var internalError: VarlinkError { VarlinkError("org.varlink.service.InternalError") }
}

/// The two parts of a name like `com.example.Interface.Method`.
struct MethodName {
  let interface: String
  let member: String

  /// Nil unless the text is an interface, a dot, and a name that begins with a capital letter.
  init?(_ text: String) {
    guard let dot = text.lastIndex(of: ".") else { return nil }
    interface = String(text[..<dot])
    member = String(text[text.index(after: dot)...])
    guard Self.isInterface(interface), Self.isMember(member) else { return nil }
  }

  /// Whether the text has at least two parts of letters and digits, separated by dots, of which the
  /// first begins with a letter.
  static func isInterface(_ text: String) -> Bool {
    let parts = text.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
    return parts.count >= 2 && parts[0].first.map(isLetter) ?? false
      && parts.allSatisfy { part in
        !part.isEmpty && part.first != UInt8(ascii: "-") && part.last != UInt8(ascii: "-")
          && part.allSatisfy { isLetter($0) || isDigit($0) || $0 == UInt8(ascii: "-") }
      }
  }

  static func isMember(_ text: String) -> Bool {
    guard let first = text.utf8.first, UInt8(ascii: "A")...UInt8(ascii: "Z") ~= first else {
      return false
    }
    return text.utf8.allSatisfy { isLetter($0) || isDigit($0) }
  }

  private static func isLetter(_ byte: UInt8) -> Bool { 0x61...0x7A ~= byte | 0x20 }
  private static func isDigit(_ byte: UInt8) -> Bool { 0x30...0x39 ~= byte }
}

extension ArraySlice<UInt8> {
  fileprivate var isNull: Bool { elementsEqual("null".utf8) }

  /// The member `parameters`, an object; empty if it is missing.
  fileprivate func parameters(_ members: JSONScanner.Members) throws(VarlinkFailure) -> ArraySlice<
    UInt8
  > {
    guard let range = members["parameters"], !self[range].isNull else {
      return Array("{}".utf8)[...]
    }
    guard self[range].first == UInt8(ascii: "{") else {
      throw VarlinkFailure(.malformedMessage, detail: "parameters that are no object")
    }
    return self[range]
  }

  fileprivate func flag(
    _ name: String, _ members: JSONScanner.Members
  ) throws(VarlinkFailure) -> Bool {
    guard let range = members[name], !self[range].isNull else { return false }
    if self[range].elementsEqual("true".utf8) { return true }
    guard self[range].elementsEqual("false".utf8) else {
      throw VarlinkFailure(.malformedMessage, detail: "\(name) is neither true nor false")
    }
    return false
  }
}

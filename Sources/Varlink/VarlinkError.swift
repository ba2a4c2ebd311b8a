// SPDX-License-Identifier: Apache-2.0
/// An error as Varlink sends it in place of a reply: a name, and parameters.
///
/// A client's call throws what the service has answered; a service's handler throws what the client
/// is to get.
/// ```swift
/// do {
///   let reply = try await client.call("com.example.Broker.Open", Path(path: "/etc/shadow"), returning: File.self)
/// } catch let error as VarlinkError where error.name == "com.example.Broker.NotFound" {
///   let path = try error.parameters(as: Path.self).path
/// }
/// ```
public struct VarlinkError: Error, Sendable, Hashable {
  /// The interface, a dot, and the error's own name: `com.example.Broker.NotFound`.
  public let name: String

  /// The parameters as JSON text, an object.
  public let parametersJSON: String

  /// An error without parameters.
  public init(_ name: String) {
    self.init(name: name, json: "{}")
  }

  /// An error with parameters, which are encoded as a JSON object.
  ///
  /// - Throws: ``VarlinkFailure``: `invalidParameters`.
  public init(_ name: String, parameters: some Encodable) throws(VarlinkFailure) {
    self.init(name: name, json: String(decoding: try JSON.encodeObject(parameters), as: UTF8.self))
  }

  init(name: String, json: String) {
    self.name = name
    parametersJSON = json
  }

  /// Decodes the parameters.
  ///
  /// - Throws: ``VarlinkFailure``: `unexpectedParameters`.
  public func parameters<P: Decodable>(as type: P.Type) throws(VarlinkFailure) -> P {
    try JSON.decodeReply(type, from: Array(parametersJSON.utf8)[...])
  }
}

extension VarlinkError: CustomStringConvertible {
  public var description: String { parametersJSON == "{}" ? name : "\(name) \(parametersJSON)" }
}

// The errors of org.varlink.service, with which every service may answer.
extension VarlinkError {
  static let interfaceNotFound = "org.varlink.service.InterfaceNotFound"
  static let methodNotFound = "org.varlink.service.MethodNotFound"
  static let methodNotImplemented = "org.varlink.service.MethodNotImplemented"
  static let invalidParameter = "org.varlink.service.InvalidParameter"

  private init(_ name: String, _ key: String, _ value: String) {
    let text = (try? JSON.encodeObject([key: value])).map { String(decoding: $0, as: UTF8.self) }
    self.init(name: name, json: text ?? "{}")
  }

  /// The service does not have the interface. The name is `org.varlink.service.InterfaceNotFound`.
  public static func interfaceNotFound(_ interface: String) -> VarlinkError {
    VarlinkError(interfaceNotFound, "interface", interface)
  }

  /// The interface does not have the method. The name is `org.varlink.service.MethodNotFound`.
  public static func methodNotFound(_ method: String) -> VarlinkError {
    VarlinkError(methodNotFound, "method", method)
  }

  /// The method exists, and does nothing yet. The name is
  /// `org.varlink.service.MethodNotImplemented`.
  public static func methodNotImplemented(_ method: String) -> VarlinkError {
    VarlinkError(methodNotImplemented, "method", method)
  }

  /// A parameter is missing, or not as the method needs it. The name is
  /// `org.varlink.service.InvalidParameter`.
  public static func invalidParameter(_ parameter: String) -> VarlinkError {
    VarlinkError(invalidParameter, "parameter", parameter)
  }

  /// The caller has no right to that. The name is `org.varlink.service.PermissionDenied`.
  public static var permissionDenied: VarlinkError {
    VarlinkError("org.varlink.service.PermissionDenied")
  }

  /// The method answers only calls with `more`. The name is `org.varlink.service.ExpectedMore`.
  public static var expectedMore: VarlinkError { VarlinkError("org.varlink.service.ExpectedMore") }
}

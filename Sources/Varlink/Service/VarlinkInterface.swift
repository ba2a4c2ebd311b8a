// SPDX-License-Identifier: Apache-2.0
/// An interface that a service offers: its description in Varlink's own language, and a handler for
/// each method.
/// ```swift
/// var broker = VarlinkInterface(
///   "com.example.Broker",
///   description: """
///     interface com.example.Broker
///     method Open(path: string) -> (file: int)
///     error NotFound(path: string)
///     """)
/// broker.method("Open") { (arguments: Path, call) in
///   File(file: try call.push(try open(arguments.path)))
/// }
/// ```
public struct VarlinkInterface: Sendable {
  /// The interface's name, in reverse-domain form.
  public let name: String

  /// The text that `org.varlink.service.GetInterfaceDescription` returns.
  public let description: String

  typealias Handler =
    @Sendable (_ parameters: ArraySlice<UInt8>, VarlinkCall) async throws -> [UInt8]
  private(set) var methods: [String: Handler] = [:]

  /// An interface without methods yet.
  ///
  /// - Parameters:
  ///   - name: In reverse-domain form, as `com.example.Broker`.
  ///   - description: `interface NAME`, and what it has. Peers parse it; here only the name is
  ///     compared.
  /// - Precondition: `name` is an interface's name, and stands in the description.
  public init(_ name: String, description: String) {
    precondition(MethodName.isInterface(name), "\(name) is not the name of an interface")
    let words = description.split(whereSeparator: \.isWhitespace)
    precondition(
      zip(words, words.dropFirst()).contains { $0 == "interface" && $1 == name },
      "The description is not one of \(name)")
    self.name = name
    self.description = description
  }

  /// Registers what a method does.
  ///
  /// The handler's result answers the call, with the descriptors that it has pushed
  /// (``VarlinkCall/push(_:)``). A ``VarlinkError`` that it throws is the answer then, without
  /// descriptors; any other error is answered as `InternalError` of the interface, without telling
  /// what it was, and reported to the service's `onError`. An answer above
  /// ``VarlinkLimits/messageSize`` is replaced by an `InternalError`. Parameters that cannot be
  /// decoded are answered as `org.varlink.service.InvalidParameter`, and the handler is not called.
  ///
  /// - Precondition: `name` is a method's name that has not been registered, and stands in the
  ///   description as `method NAME(`.
  public mutating func method<
    Parameters: Decodable & SendableMetatype, Reply: Encodable & SendableMetatype
  >(
    _ name: String,
    _ handler:
      @escaping @Sendable (_ parameters: Parameters, _ call: VarlinkCall) async throws -> Reply
  ) {
    precondition(MethodName.isMember(name), "\(name) is not the name of a method")
    precondition(description.contains("method \(name)("), "The description has no method \(name)(")
    precondition(methods[name] == nil, "The method \(name) has been registered before")
    methods[name] = { json, call in
      let parameters = try JSON.decodeCall(Parameters.self, from: json)
      return try JSON.encodeObject(try await handler(parameters, call))
    }
  }
}

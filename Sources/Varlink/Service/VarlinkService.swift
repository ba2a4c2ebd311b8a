// SPDX-License-Identifier: Apache-2.0
public import MessageSockets

/// A Varlink service: interfaces, and what it says about itself.
/// ```swift
/// var service = VarlinkService(vendor: "Example", product: "Broker", version: "1", url: "https://example.com")
/// service.add(broker)
/// let listener = try UnixListener<UnixStream>.bind(to: UnixAddress(path: "/run/broker.sock"))
/// try await service.serve(listener)
/// ```
/// `org.varlink.service` (`GetInfo`, `GetInterfaceDescription`) is answered from what was added.
///
/// The calls of a connection are handled one after the other, in order; while one is handled, or a
/// client does not read its replies, further calls wait in the kernel, and behind a call with
/// `more`, one message's limits of them here. A connection ends when its client sends what is no
/// Varlink call: broken JSON, more than 128 levels, a message above the limits. What is wrong with
/// a call itself (an unknown method, parameters of a wrong type) is answered as an error.
///
/// Upgrades (`upgrade`) are not supported, and are answered as `MethodNotImplemented`.
public struct VarlinkService: Sendable {
  /// Limits of each connection.
  public var limits: VarlinkLimits

  private(set) var interfaces: [String: VarlinkInterface] = [:]

  /// A service with `org.varlink.service` only.
  ///
  /// - Parameters:
  ///   - vendor: Who makes it. `GetInfo` answers this and the next three.
  ///   - product: What it is called.
  ///   - version: Which version it is.
  ///   - url: Where there is more about it.
  ///   - limits: What each connection may cost.
  public init(
    vendor: String, product: String, version: String, url: String,
    limits: VarlinkLimits = VarlinkLimits()
  ) {
    self.limits = limits
    info = ServiceInfo(vendor: vendor, product: product, version: version, url: url, interfaces: [])
    interfaces[ServiceInfo.interface] = VarlinkInterface(
      ServiceInfo.interface, description: ServiceInfo.description)
  }

  private let info: ServiceInfo

  /// Adds an interface.
  ///
  /// - Precondition: The service has none of that name yet.
  public mutating func add(_ interface: VarlinkInterface) {
    precondition(interfaces[interface.name] == nil, "The service has \(interface.name) already")
    interfaces[interface.name] = interface
  }

  /// Accepts connections and handles their calls, until the task is cancelled or the listener
  /// closed.
  ///
  /// As ``SocketListener/serve(_:onError:handler:)``: bounded, and drained at the end. Who may
  /// connect, and which descriptors clients may send, the listener says (``Authorization``,
  /// ``ReceivePolicy``): the connection of one that sends others ends.
  ///
  /// - Parameters:
  ///   - listener: Closed when the call returns.
  ///   - limits: How many connections are handled at a time, and how long handlers keep running at
  ///     the end.
  ///   - onError: Called once per connection that ended before its client closed it, with the
  ///     reason; and with each error of a handler that is no ``VarlinkError``.
  public func serve(
    _ listener: UnixListener<UnixStream>, _ limits: ServeLimits = ServeLimits(),
    onError: @escaping @Sendable (any Error) -> Void = { _ in }
  ) async throws {
    try await listener.serve(limits, onError: onError) { connection in
      try await handle(connection, onError: onError)
    }
  }

  /// Handles the calls of one connection, until its client closes it or the socket drains
  /// (``MessageSocket/startDraining()``): calls that have arrived are answered then. A client that
  /// leaves without its answers is no error.
  ///
  /// - Throws: Why it has ended otherwise: ``VarlinkFailure``, `FramingError`, `SocketError`,
  ///   `CancellationError`. The connection is left to the caller to close.
  public func handle(
    _ connection: UnixStream, onError: @escaping @Sendable (any Error) -> Void = { _ in }
  ) async throws {
    let connection = ServiceConnection(self, connection, onError: onError)
    try await connection.handleCalls()
  }

  // MARK: Answers to calls

  /// The handler of a method.
  ///
  /// - Throws: ``VarlinkError``: `InterfaceNotFound`, `MethodNotFound`.
  func handler(of method: String) throws(VarlinkError) -> VarlinkInterface.Handler {
    guard let name = MethodName(method) else { throw .methodNotFound(method) }
    guard let interface = interfaces[name.interface] else {
      throw .interfaceNotFound(name.interface)
    }
    if interface.name == ServiceInfo.interface, let handler = ownHandler(name.member) {
      return handler
    }
    guard let handler = interface.methods[name.member] else { throw .methodNotFound(method) }
    return handler
  }

  private func ownHandler(_ member: String) -> VarlinkInterface.Handler? {
    switch member {
    case "GetInfo":
      return { [info, names = interfaces.keys.sorted()] _, _ in
        var info = info
        info.interfaces = names
        return try JSON.encodeObject(info)
      }
    case "GetInterfaceDescription":
      return { [interfaces] json, _ in
        let name = try JSON.decodeCall(InterfaceName.self, from: json).interface
        guard let interface = interfaces[name] else { throw VarlinkError.interfaceNotFound(name) }
        return try JSON.encodeObject(["description": interface.description])
      }
    default: return nil
    }
  }
}

private struct InterfaceName: Decodable {
  var interface: String
}

/// The answer to `GetInfo`.
private struct ServiceInfo: Encodable, Sendable {
  var vendor: String
  var product: String
  var version: String
  var url: String
  var interfaces: [String]

  static let interface = "org.varlink.service"

  static let description = """
    # Every Varlink service has this interface.
    interface org.varlink.service

    # What the service is, and which interfaces it has.
    method GetInfo() -> (
      vendor: string,
      product: string,
      version: string,
      url: string,
      interfaces: []string
    )

    # The description of an interface, as this text is one.
    method GetInterfaceDescription(interface: string) -> (description: string)

    error InterfaceNotFound(interface: string)
    error MethodNotFound(method: string)
    error MethodNotImplemented(method: string)
    error InvalidParameter(parameter: string)
    error PermissionDenied()
    error ExpectedMore()

    """
}

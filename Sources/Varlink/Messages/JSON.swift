// SPDX-License-Identifier: Apache-2.0
internal import FoundationEssentials

/// Converts parameters to JSON and back with Foundation.
enum JSON {
  /// Encodes parameters, which must result in a JSON object.
  static func encodeObject(_ value: some Encodable) throws(VarlinkFailure) -> [UInt8] {
    let data: Data
    do { data = try JSONEncoder().encode(value) } catch {
      throw VarlinkFailure(.invalidParameters, detail: "\(error)")
    }
    guard data.first == UInt8(ascii: "{") else {
      throw VarlinkFailure(.invalidParameters, detail: "\(type(of: value)) is no JSON object")
    }
    return Array(data)
  }

  /// Decodes JSON that ``JSONScanner`` has checked. The bytes are not copied.
  static func decode<P: Decodable>(_ type: P.Type, from json: ArraySlice<UInt8>) throws -> P {
    try unsafe json.withUnsafeBytes { bytes in
      // SAFETY: the decoder only reads the bytes, and its results are copies.
      let start = unsafe UnsafeMutableRawPointer(mutating: bytes.baseAddress!)
      let data = unsafe Data(bytesNoCopy: start, count: bytes.count, deallocator: .none)
      return try JSONDecoder().decode(type, from: data)
    }
  }

  /// Decodes the parameters of a service's answer.
  static func decodeReply<P: Decodable>(
    _ type: P.Type, from json: ArraySlice<UInt8>
  ) throws(VarlinkFailure) -> P {
    do { return try decode(type, from: json) } catch {
      throw VarlinkFailure(.unexpectedParameters, detail: "\(error)")
    }
  }

  /// Decodes the parameters of a client's call.
  ///
  /// - Throws: ``VarlinkError``: `InvalidParameter`, with the parameter that was wrong.
  static func decodeCall<P: Decodable>(_ type: P.Type, from json: ArraySlice<UInt8>) throws -> P {
    do { return try decode(type, from: json) } catch let error as DecodingError {
      throw VarlinkError.invalidParameter(parameter(of: error))
    }
  }

  private static func parameter(of error: DecodingError) -> String {
    let path: [any CodingKey] =
      switch error {
      case .keyNotFound(let key, let context): context.codingPath + [key]
      case .typeMismatch(_, let context), .valueNotFound(_, let context),
        .dataCorrupted(let context):
        context.codingPath
      @unknown default: []
      }
    return path.first?.stringValue ?? "parameters"
  }
}

// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets

/// The operations that a memory file no longer permits, for any process.
/// The C names are `F_GET_SEALS` and `F_SEAL_…` (fcntl(2)).
public struct FileSeals: OptionSet, Hashable, Sendable {
  public let rawValue: Int32
  public init(rawValue: Int32) { self.rawValue = rawValue }

  /// Add further seals. `F_SEAL_SEAL`.
  public static var seal: FileSeals { FileSeals(rawValue: cms_seal_seal) }
  /// Make it shorter: what keeps a mapping from ending in `SIGBUS`. `F_SEAL_SHRINK`.
  public static var shrink: FileSeals { FileSeals(rawValue: cms_seal_shrink) }
  /// Make it longer. `F_SEAL_GROW`.
  public static var grow: FileSeals { FileSeals(rawValue: cms_seal_grow) }
  /// Write into it, through old mappings too. `F_SEAL_WRITE`.
  public static var write: FileSeals { FileSeals(rawValue: cms_seal_write) }
  /// Write into it, except through mappings that exist already: the contents may still change, so
  /// the file is not immutable. `F_SEAL_FUTURE_WRITE`, Linux 5.1.
  public static var futureWrite: FileSeals { FileSeals(rawValue: cms_seal_future_write) }
  /// Change its execute permissions. `F_SEAL_EXEC`, Linux 6.3.
  public static var executable: FileSeals { FileSeals(rawValue: cms_seal_exec) }
}

extension FileSeals: CustomStringConvertible {
  public var description: String {
    let names: [(FileSeals, String)] = [
      (.seal, "seal"), (.shrink, "shrink"), (.grow, "grow"), (.write, "write"),
      (.futureWrite, "future write"), (.executable, "executable"),
    ]
    return names.filter { contains($0.0) }.map(\.1).joined(separator: ", ")
  }
}

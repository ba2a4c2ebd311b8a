// SPDX-License-Identifier: Apache-2.0
/// What can no longer be done to a memory file, by anybody. The C names are `F_GET_SEALS` and
/// `F_SEAL_…` (fcntl(2)).
public struct FileSeals: OptionSet, Hashable, Sendable {
  public let rawValue: Int32
  public init(rawValue: Int32) { self.rawValue = rawValue }

  /// Add further seals. `F_SEAL_SEAL`.
  public static var seal: FileSeals { FileSeals(rawValue: 0x1) }
  /// Make it shorter: what keeps a mapping from ending in `SIGBUS`. `F_SEAL_SHRINK`.
  public static var shrink: FileSeals { FileSeals(rawValue: 0x2) }
  /// Make it longer. `F_SEAL_GROW`.
  public static var grow: FileSeals { FileSeals(rawValue: 0x4) }
  /// Write into it, through old mappings too. `F_SEAL_WRITE`.
  public static var write: FileSeals { FileSeals(rawValue: 0x8) }
  /// Write into it, but through mappings that exist. `F_SEAL_FUTURE_WRITE`, Linux 5.1.
  public static var futureWrite: FileSeals { FileSeals(rawValue: 0x10) }
  /// Change its execute permissions. `F_SEAL_EXEC`, Linux 6.3.
  public static var executable: FileSeals { FileSeals(rawValue: 0x20) }
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

// SPDX-License-Identifier: Apache-2.0
import Logging
import Synchronization

/// The entries of a log, in memory, in place of a back end.
final class Entries: Sendable {
  struct Entry: Sendable {
    let level: Logger.Level
    let text: String
    let metadata: Logger.Metadata
  }

  private let kept = Mutex<[Entry]>([])

  var all: [Entry] { kept.withLock { $0 } }

  func first(where isWanted: (Entry) -> Bool) -> Entry? { all.first(where: isWanted) }

  func append(_ entry: Entry) { kept.withLock { $0.append(entry) } }
}

struct EntryHandler: LogHandler {
  let entries: Entries
  var logLevel = Logger.Level.info
  var metadata: Logger.Metadata = [:]

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) {
    entries.append(
      Entries.Entry(
        level: event.level, text: "\(event.message)", metadata: event.metadata ?? [:]))
  }
}

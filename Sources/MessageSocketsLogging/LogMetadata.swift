// SPDX-License-Identifier: Apache-2.0
#if Logging
  internal import Ancillary
  public import Logging
  public import MessageSockets

  extension PeerIdentity {
    /// What is known of the peer: `peer_process`, `peer_user`, `peer_group`, `peer_groups`,
    /// `peer_label`, `peer_context`.
    public var logMetadata: Logger.Metadata {
      var metadata: Logger.Metadata = [:]
      metadata["peer_process"] = processID.map { "\($0)" }
      metadata["peer_user"] = userID.map { "\($0)" }
      metadata["peer_group"] = groupID.map { "\($0)" }
      if let groups = supplementaryGroups, !groups.isEmpty {
        // There may be tens of thousands.
        var shown = groups.prefix(16).map { Logger.MetadataValue.string("\($0)") }
        if groups.count > shown.count { shown.append("… \(groups.count) in all") }
        metadata["peer_groups"] = .array(shown)
      }
      metadata["peer_label"] = securityLabel.map { .visible($0) }
      metadata["peer_context"] = contextID.map { "\($0)" }
      return metadata
    }
  }

  extension SocketError {
    /// What the error says: `code`, `operation`, `errno`, `address`, `socket`, `bytes_sent`,
    /// `detail`, `outcome`, and the keys of ``DeliveryStatus/logMetadata``.
    public var logMetadata: Logger.Metadata {
      var metadata: Logger.Metadata = ["code": "\(code)", "operation": "\(operation)"]
      metadata["errno"] = errno.map { "\($0.rawValue)" }
      metadata["address"] = address.map { .visible($0) }
      metadata["socket"] = socket.map { .visible($0) }
      if bytesSent > 0 { metadata["bytes_sent"] = "\(bytesSent)" }
      metadata["detail"] = detail.map { .visible($0) }
      metadata["outcome"] = outcome.map { .visible($0) }
      if let outcome { metadata.merge(outcome.logMetadata) { kept, _ in kept } }
      return metadata
    }
  }

  extension DeliveryStatus {
    /// What a message has lost: `payload_truncated`, `full_length`, `control_truncation`,
    /// `descriptors_failed`, `descriptors_surplus`, `descriptors_refused`. Empty if it is complete.
    public var logMetadata: Logger.Metadata {
      var metadata: Logger.Metadata = [:]
      if isPayloadTruncated { metadata["payload_truncated"] = "true" }
      metadata["full_length"] = fullLength.map { "\($0)" }
      metadata["control_truncation"] = controlTruncation.map { "\($0)" }
      // Numbers, because a message may have hundreds of descriptors.
      if !failures.isEmpty { metadata["descriptors_failed"] = "\(failures.count)" }
      if surplus > 0 { metadata["descriptors_surplus"] = "\(surplus)" }
      if !refused.isEmpty { metadata["descriptors_refused"] = "\(refused.count)" }
      return metadata
    }
  }

  extension IOLoop {
    /// The loop for log entries: `driver` and the `reason` for it. May be asked on any thread.
    public nonisolated var logMetadata: Logger.Metadata {
      ["driver": "\(driver.kind)", "reason": "\(driver.reason)"]
    }
  }

  extension LoopSocket {
    /// The socket for log entries: `socket`, its ``LoopSocket/description``, and `driver`. May be
    /// asked on any thread, and makes no system call.
    public nonisolated var logMetadata: Logger.Metadata {
      ["socket": .visible(description), "driver": "\(loop.driver.kind)"]
    }
  }

  extension IOLoop.Driver.Reason {
    /// Whether io_uring was tried, and refused.
    var isRefusal: Bool {
      switch code {
      case .requested, .environment, .probed: false
      default: true
      }
    }
  }

  extension Logger.MetadataValue {
    /// A text that a peer or an error may have chosen, on one line, without control characters, and
    /// at most 512 Unicode scalars long, which are 2 KiB.
    static func visible(_ value: some Any) -> Logger.MetadataValue {
      // Scalars, because a single character may have any number of them. Cut again at the end,
      // because one that is escaped becomes up to 16.
      let start = String(String.UnicodeScalarView("\(value)".unicodeScalars.prefix(512)))
      return .string(String(String.UnicodeScalarView(start.visible.unicodeScalars.prefix(512))))
    }
  }
#endif

// SPDX-License-Identifier: Apache-2.0
public import ArgumentParser

/// The kind of Unix socket.
public enum Kind: String, CaseIterable, ExpressibleByArgument, Sendable {
  case stream
  case seqpacket
  case dgram
}

// SPDX-License-Identifier: Apache-2.0

/// A Unix socket: its messages can carry descriptors. See unix(7).
///
/// ``UnixStream``, ``UnixSeqpacket`` and ``UnixDatagram``. No other family can: TCP and UDP would
/// drop the descriptors without a word.
public protocol UnixSocket: MessageSocket {}

// SPDX-License-Identifier: Apache-2.0
// One import for users: descriptors and control messages, the loop, the sockets.
@_exported public import Ancillary
@_exported public import SocketEngine

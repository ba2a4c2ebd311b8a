// SPDX-License-Identifier: Apache-2.0
// One import gives users descriptors and control messages, the loop, and the sockets.
@_exported public import Ancillary
@_exported public import SocketEngine

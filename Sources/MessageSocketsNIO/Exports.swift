// SPDX-License-Identifier: Apache-2.0
#if NIO
  @_exported public import MessageSockets
#endif

// SPDX-License-Identifier: Apache-2.0
#if Lifecycle
  @_exported public import MessageSockets
  @_exported public import ServiceLifecycle
#endif

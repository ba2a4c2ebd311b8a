// SPDX-License-Identifier: Apache-2.0
#if Lifecycle
  @_exported public import MessageSockets
  @_exported public import ServiceLifecycle
  @_exported public import ServiceManagement
  @_exported public import UnixSignals
#endif

// SPDX-License-Identifier: Apache-2.0
// vsock(7): numbers and the layout of struct sockaddr_vm, which Vsock.c asserts against the
// system's header.
#ifndef CMESSAGESOCKETS_VSOCK_H
#define CMESSAGESOCKETS_VSOCK_H
#include <stdint.h>

enum : uint32_t {
  cms_vsock_context_hypervisor = 0, // VMADDR_CID_HYPERVISOR
  cms_vsock_context_local = 1, // VMADDR_CID_LOCAL, Linux 5.6
  cms_vsock_context_host = 2, // VMADDR_CID_HOST
  cms_vsock_context_any = 0xFFFFFFFF, // VMADDR_CID_ANY
  cms_vsock_port_any = 0xFFFFFFFF, // VMADDR_PORT_ANY
};

// struct sockaddr_vm: its size, and where the port and the context identifier stand.
enum : int32_t {
  cms_vsock_address_size = 16,
  cms_vsock_port_offset = 4,
  cms_vsock_context_offset = 8,
};

// Options of the level AF_VSOCK. The first two have 64 bits, the last a struct timeval.
enum : int32_t {
  cms_vsock_buffer_size = 0, // SO_VM_SOCKETS_BUFFER_SIZE
  cms_vsock_buffer_maximum = 2, // SO_VM_SOCKETS_BUFFER_MAX_SIZE
  cms_vsock_connect_timeout = 6, // SO_VM_SOCKETS_CONNECT_TIMEOUT on 64-bit systems
};

// The context identifier of this machine (IOCTL_VM_SOCKETS_GET_LOCAL_CID), or -errno.
int64_t cms_vsock_local_context(void);

#endif

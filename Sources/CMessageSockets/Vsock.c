// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "Vsock.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

// After sys/socket.h, which it needs.
#include <linux/vm_sockets.h>

_Static_assert(cms_vsock_context_hypervisor == VMADDR_CID_HYPERVISOR, "VMADDR_CID_HYPERVISOR");
#ifdef VMADDR_CID_LOCAL
_Static_assert(cms_vsock_context_local == VMADDR_CID_LOCAL, "VMADDR_CID_LOCAL");
#endif
_Static_assert(cms_vsock_context_host == VMADDR_CID_HOST, "VMADDR_CID_HOST");
_Static_assert(cms_vsock_context_any == VMADDR_CID_ANY, "VMADDR_CID_ANY");
_Static_assert(cms_vsock_port_any == VMADDR_PORT_ANY, "VMADDR_PORT_ANY");
_Static_assert(cms_vsock_address_size == sizeof(struct sockaddr_vm), "sockaddr_vm");
_Static_assert(cms_vsock_port_offset == offsetof(struct sockaddr_vm, svm_port), "svm_port");
_Static_assert(cms_vsock_context_offset == offsetof(struct sockaddr_vm, svm_cid), "svm_cid");
_Static_assert(cms_vsock_buffer_size == SO_VM_SOCKETS_BUFFER_SIZE, "SO_VM_SOCKETS_BUFFER_SIZE");
_Static_assert(cms_vsock_buffer_maximum == SO_VM_SOCKETS_BUFFER_MAX_SIZE,
               "SO_VM_SOCKETS_BUFFER_MAX_SIZE");
#if defined(SO_VM_SOCKETS_CONNECT_TIMEOUT) && __SIZEOF_LONG__ == 8
_Static_assert(cms_vsock_connect_timeout == SO_VM_SOCKETS_CONNECT_TIMEOUT,
               "SO_VM_SOCKETS_CONNECT_TIMEOUT");
#endif

int64_t cms_vsock_local_context(void) {
  int device = open("/dev/vsock", O_RDONLY | O_CLOEXEC);
  if (device < 0) return -errno;
  unsigned int context = VMADDR_CID_ANY;
  int64_t result = ioctl(device, IOCTL_VM_SOCKETS_GET_LOCAL_CID, &context) < 0 ? -errno : context;
  (void)close(device);
  return result;
}

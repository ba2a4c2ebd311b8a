// SPDX-License-Identifier: Apache-2.0
// Restrictions that a container or an administrator may impose on a process, for tests. Each
// applies to the calling process permanently. Each function returns 0 or -errno.
#ifndef CPROCESSRESTRICTIONS_H
#define CPROCESSRESTRICTIONS_H
#include <stdint.h>

// Makes all io_uring calls fail with this errno; 0 makes them end the process.
int32_t cpr_refuse_io_uring(int32_t error);
// Makes only io_uring_enter fail with this errno.
int32_t cpr_refuse_io_uring_enter(int32_t error);
// Makes waiting on an epoll instance fail with this errno.
int32_t cpr_refuse_epoll_waits(int32_t error);
// Makes memfd_create refuse MFD_NOEXEC_SEAL with EINVAL, as before Linux 6.3.
int32_t cpr_refuse_noexec_seal(void);
int32_t cpr_limit_locked_memory(uint64_t bytes);
int32_t cpr_limit_descriptors(uint64_t count);
// Sets RLIMIT_NPROC, which applies to all users except root.
int32_t cpr_limit_threads(uint64_t count);
uint32_t cpr_threads_resource(void); // RLIMIT_NPROC
// Sets only the soft limit, which can be raised to the hard limit again; 0 does that.
int32_t cpr_limit_descriptors_for_now(uint64_t count);
int32_t cpr_become_user(uint32_t user);

// Whether the kernel gives this process a ring that can carry descriptors (Linux 5.12), determined
// without the library. 1 or 0.
int32_t cpr_kernel_has_ring(void);
// Whether the kernel charges rings to RLIMIT_MEMLOCK, and whether it passes them in messages. 1
// or 0.
int32_t cpr_kernel_counts_rings(void);
int32_t cpr_kernel_passes_rings(void);

// Makes the first `count` accepts of this process fail with this errno; later ones are performed.
// Call it while the process has one thread.
int32_t cpr_fail_accepts(int32_t error, uint32_t count);

#endif

// SPDX-License-Identifier: Apache-2.0
// What a container or an administrator may do to a process, for tests: each holds for the calling
// process, for good. 0 or -errno.
#ifndef CPROCESSRESTRICTIONS_H
#define CPROCESSRESTRICTIONS_H
#include <stdint.h>

// The calls of io_uring fail with this errno; with 0, they end the process.
int32_t cpr_refuse_io_uring(int32_t error);
// io_uring_enter alone fails with this errno.
int32_t cpr_refuse_io_uring_enter(int32_t error);
// Waiting on an epoll instance fails with this errno.
int32_t cpr_refuse_epoll_waits(int32_t error);
// memfd_create does not know MFD_NOEXEC_SEAL, as before Linux 6.3: EINVAL.
int32_t cpr_refuse_noexec_seal(void);
int32_t cpr_limit_locked_memory(uint64_t bytes);
int32_t cpr_limit_descriptors(uint64_t count);
// RLIMIT_NPROC, which binds all users but root.
int32_t cpr_limit_threads(uint64_t count);
uint32_t cpr_threads_resource(void); // RLIMIT_NPROC
// The soft limit only, which can be raised to the hard one again; with 0 it is.
int32_t cpr_limit_descriptors_for_now(uint64_t count);
int32_t cpr_become_user(uint32_t user);

// Whether the kernel gives this process a ring that can carry descriptors (Linux 5.12), asked past
// the library. 1 or 0.
int32_t cpr_kernel_has_ring(void);
// Whether the kernel charges rings to RLIMIT_MEMLOCK, and whether it passes them in messages. 1
// or 0.
int32_t cpr_kernel_counts_rings(void);
int32_t cpr_kernel_passes_rings(void);

// The first `count` accepts of this process fail with this errno; those after are made. To be
// called while the process has one thread.
int32_t cpr_fail_accepts(int32_t error, uint32_t count);

#endif

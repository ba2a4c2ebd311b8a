// SPDX-License-Identifier: Apache-2.0
// Descriptors that Swift's Glibc overlay cannot make, for tests; close-on-exec. The number, or
// -errno.
#ifndef CTESTDESCRIPTORS_H
#define CTESTDESCRIPTORS_H
#include <stdint.h>

int32_t ctd_memory_file(void); // that can be sealed
int32_t ctd_add_seals(int32_t fd, int32_t seals);
int32_t ctd_event(void);
int32_t ctd_epoll(void);
int32_t ctd_inotify(void);
int32_t ctd_pidfd(int32_t process);
// SO_LINGER.
int32_t ctd_set_linger(int32_t fd, int32_t seconds);
// A copy of this process, which does nothing until `fd` has a byte or its end, and then exits
// with 0. Its process ID.
int32_t ctd_fork_until_end(int32_t fd);
// What the kernel says to a ring of the library's, `struct io_uring` being the first thing in it,
// that is asked to open a file, or to register an eventfd: -errno.
int32_t ctd_ring_open_file(void *ring);
int32_t ctd_ring_register_eventfd(void *ring);

#endif

// SPDX-License-Identifier: Apache-2.0
// Descriptors for tests that Swift's Glibc overlay cannot make; close-on-exec. Each function
// returns the descriptor or -errno.
#ifndef CTESTDESCRIPTORS_H
#define CTESTDESCRIPTORS_H
#include <stdint.h>

int32_t ctd_memory_file(void); // can be sealed
int32_t ctd_add_seals(int32_t fd, int32_t seals);
int32_t ctd_event(void);
int32_t ctd_epoll(void);
int32_t ctd_inotify(void);
int32_t ctd_pidfd(int32_t process);
// SO_LINGER.
int32_t ctd_set_linger(int32_t fd, int32_t seconds);
// Forks a copy of this process that waits until `fd` has a byte or is at its end, and then exits
// with 0. Returns its process ID.
int32_t ctd_fork_until_end(int32_t fd);
// Asks a ring of the library (which begins with a `struct io_uring`) to open a file, or to register
// an eventfd. Returns the kernel's answer: -errno.
int32_t ctd_ring_open_file(void *ring);
int32_t ctd_ring_register_eventfd(void *ring);

#endif

// SPDX-License-Identifier: Apache-2.0
// Operations on processes and their descriptors that Swift's Glibc overlay cannot express. Nothing
// here makes decisions. Each function returns a value or -errno.
#ifndef CMSOCK_H
#define CMSOCK_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// A program's words and environment, each ending with NULL, and its descriptors from 3 on. `input`
// is its standard input; -1 keeps ours.
typedef struct msock_program {
  char *const *words;
  char *const *environment;
  const int32_t *descriptors;
  int32_t count;
  int32_t input;
} msock_program;

// Becomes the program. Returns only if that fails.
int32_t msock_become(const msock_program *program);
// Starts the program; returns its process ID.
int32_t msock_start(const msock_program *program);
// Waits until the process ends, and leaves its status to be collected.
void msock_await_end(int32_t process);
// Waits until the process ends. Returns its status, or 128 plus the signal's number, like shells.
int32_t msock_wait(int32_t process);

// Whether the process was started with this descriptor, if it is one of the first 4,096.
bool msock_was_given(int32_t fd);
// Whether a user may refer to this descriptor: one with which the process was started, or, beyond
// the first 4,096, any that is open.
bool msock_may_pass(int32_t fd);
bool msock_is_open(int32_t fd);
// Duplicates a descriptor; the copy is close-on-exec, with a number of at least `lowest`.
int32_t msock_duplicate(int32_t fd, int32_t lowest);
// send(2), without SIGPIPE.
int32_t msock_send(int32_t socket, const void *bytes, size_t count);
int32_t msock_set_blocking(int32_t fd);

int32_t msock_pidfd_open(int32_t process);
// pidfd_getfd(2): duplicates another process's descriptor, close-on-exec. Linux 5.6.
int32_t msock_pidfd_getfd(int32_t pidfd, int32_t number);
// readlink(2) on /proc/PROCESS/fd/NUMBER. Returns the number of bytes written to `text`.
int32_t msock_descriptor_text(int32_t process, int32_t number, char *text, uint32_t capacity);

#endif

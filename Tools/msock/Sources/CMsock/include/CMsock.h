// SPDX-License-Identifier: Apache-2.0
// Processes and their descriptors, as Swift's Glibc overlay cannot make them. Nothing here decides
// anything. Results are a value, or -errno.
#ifndef CMSOCK_H
#define CMSOCK_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// What a program finds: its words and its environment, each ending with NULL, and its descriptors
// from 3 on. `input`: its standard input; -1 leaves ours.
typedef struct msock_program {
  char *const *words;
  char *const *environment;
  const int32_t *descriptors;
  int32_t count;
  int32_t input;
} msock_program;

// Becomes the program. Returns only if that fails.
int32_t msock_become(const msock_program *program);
// Starts it; its process ID.
int32_t msock_start(const msock_program *program);
// Waits for its end, and leaves its status to be asked for.
void msock_await_end(int32_t process);
// Waits for its end: its status, or 128 and the signal, as shells have it.
int32_t msock_wait(int32_t process);

// Whether the process was started with this descriptor, of the first 4,096.
bool msock_was_given(int32_t fd);
// Whether a user may mean this descriptor: one that the process was started with; beyond the first
// 4,096, any that is open.
bool msock_may_pass(int32_t fd);
bool msock_is_open(int32_t fd);
// Close-on-exec, and not below `lowest`.
int32_t msock_duplicate(int32_t fd, int32_t lowest);
// send(2), which ends no process by SIGPIPE.
int32_t msock_send(int32_t socket, const void *bytes, size_t count);
int32_t msock_set_blocking(int32_t fd);

int32_t msock_pidfd_open(int32_t process);
// pidfd_getfd(2): a duplicate of another process's descriptor, close-on-exec. Linux 5.6.
int32_t msock_pidfd_getfd(int32_t pidfd, int32_t number);
// readlink(2) of /proc/PROCESS/fd/NUMBER: how many bytes of `text` were filled.
int32_t msock_descriptor_text(int32_t process, int32_t number, char *text, uint32_t capacity);

#endif

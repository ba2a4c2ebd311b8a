// SPDX-License-Identifier: Apache-2.0
// The loop's thread, and a gate to wait at until it stands.
#ifndef CMESSAGESOCKETS_THREADS_H
#define CMESSAGESOCKETS_THREADS_H
#include <stdint.h>

typedef struct cms_gate cms_gate;

cms_gate *cms_gate_create(void); // NULL: out of memory
void cms_gate_destroy(cms_gate *gate);
void cms_gate_open(cms_gate *gate);
void cms_gate_wait(cms_gate *gate);

// Starts a detached thread, with all signals blocked so that the program's handlers run on its own
// threads. 0 or -errno.
int32_t cms_thread_start(void (*body)(void *), void *context, const char *name);
uintptr_t cms_thread_self(void);
void cms_sleep(uint32_t milliseconds);

// How many processors this process may run on; at least 1.
int32_t cms_usable_processors(void);

#endif

// SPDX-License-Identifier: Apache-2.0
// The loop's thread, and a gate to wait at until it stands.
#ifndef CMESSAGESOCKETS_THREADS_H
#define CMESSAGESOCKETS_THREADS_H
#include <stdbool.h>
#include <stdint.h>

typedef struct cms_gate cms_gate;

cms_gate *cms_gate_create(void); // NULL: out of memory
void cms_gate_destroy(cms_gate *gate);
void cms_gate_open(cms_gate *gate);
void cms_gate_wait(cms_gate *gate);
bool cms_gate_wait_for(cms_gate *gate, uint32_t milliseconds); // false: the time ran out

// Starts a detached thread, with all signals blocked so that the program's handlers run on its own
// threads. 0 or -errno.
int32_t cms_thread_start(void (*body)(void *), void *context, const char *name);
uintptr_t cms_thread_self(void);
bool cms_is_main_thread(void);
// The object of the loop that the calling thread runs, as the loop has set it; NULL on other
// threads.
void *cms_loop_of_thread(void);
void cms_set_loop_of_thread(void *loop);
void cms_sleep(uint32_t milliseconds);

// How many processors this process may run on; at least 1.
int32_t cms_usable_processors(void);

// Nanoseconds of CLOCK_BOOTTIME, which goes on while the machine is suspended.
int64_t cms_clock_nanoseconds(void);
// The time of the last tick, on a clock that stands while the machine is suspended.
int64_t cms_clock_coarse_nanoseconds(void);

#endif

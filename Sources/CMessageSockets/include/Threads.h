// SPDX-License-Identifier: Apache-2.0
// Threads, a gate that one thread opens for another, and clocks.
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

// Starts a detached thread. All signals except faults are blocked in it, so the program's handlers
// run on the program's own threads. Returns 0 or -errno.
int32_t cms_thread_start(void (*body)(void *), void *context, const char *name);
uintptr_t cms_thread_self(void);
bool cms_is_main_thread(void);
// The object of the loop that runs on the calling thread, as set by the loop; NULL on other
// threads.
void *cms_loop_of_thread(void);
void cms_set_loop_of_thread(void *loop);
void cms_sleep(uint32_t milliseconds);

// The number of processors that this process may run on; at least 1.
int32_t cms_usable_processors(void);

// Nanoseconds of CLOCK_BOOTTIME, which continues while the machine is suspended.
int64_t cms_clock_nanoseconds(void);
// The time of the last tick, on a clock that stops while the machine is suspended.
int64_t cms_clock_coarse_nanoseconds(void);

#endif

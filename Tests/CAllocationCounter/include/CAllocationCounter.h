// SPDX-License-Identifier: Apache-2.0
// Counts the calling thread's heap allocations, by replacing malloc. For tests only.
#ifndef CALLOCATIONCOUNTER_H
#define CALLOCATIONCOUNTER_H
#include <stdint.h>
// The number of allocations of this thread so far; -1 if a sanitizer has replaced malloc.
int64_t cac_allocations(void);
#endif

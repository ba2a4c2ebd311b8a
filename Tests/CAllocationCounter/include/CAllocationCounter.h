// SPDX-License-Identifier: Apache-2.0
// Counts the heap allocations of the calling thread, by standing in front of malloc. For tests
// only.
#ifndef CALLOCATIONCOUNTER_H
#define CALLOCATIONCOUNTER_H
#include <stdint.h>
// Allocations of this thread so far; -1 where a sanitizer has taken that place.
int64_t cac_allocations(void);
#endif

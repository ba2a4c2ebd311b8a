// SPDX-License-Identifier: Apache-2.0
// A memory file that is not sealed, as clients in other languages make them. The number, or -1.
#ifndef CMEMORYFILE_H
#define CMEMORYFILE_H
#include <stdint.h>

int32_t cmf_unsealed(int64_t size);
// F_SEAL_SHRINK and F_SEAL_FUTURE_WRITE while a mapping can write: from a second call on, that
// writes.
int32_t cmf_half_sealed(int64_t size);
void cmf_resize(int32_t fd, int64_t size);

#endif

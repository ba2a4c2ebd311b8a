// SPDX-License-Identifier: Apache-2.0
// An unsealed memory file, as clients in other languages make them. Returns the descriptor or -1.
#ifndef CMEMORYFILE_H
#define CMEMORYFILE_H
#include <stdint.h>

int32_t cmf_unsealed(int64_t size);
// Sets F_SEAL_SHRINK and F_SEAL_FUTURE_WRITE while a writable mapping exists, which writes from a
// second call on.
int32_t cmf_half_sealed(int64_t size);
void cmf_resize(int32_t fd, int64_t size);

#endif

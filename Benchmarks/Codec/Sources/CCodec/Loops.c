// SPDX-License-Identifier: Apache-2.0
// In a separate file from the codec, so that the codec is called and not inlined, as from another
// module.
#define _GNU_SOURCE
#include "CCodec.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define KEEP(pointer) __asm__ volatile("" : : "r"(pointer) : "memory")

uint64_t codec_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void codec_refill(void *control, const void *original, size_t length) {
  memcpy(control, original, length);
  KEEP(control);
}

uint64_t codec_time_encode(void *control, size_t capacity, const void *descriptors, size_t count,
                           size_t rounds) {
  uint64_t start = codec_now();
  for (size_t round = 0; round < rounds; round++) {
    if (codec_encode(control, capacity, descriptors, count) == 0) abort();
    KEEP(control);
  }
  return codec_now() - start;
}

uint64_t codec_time_decode(void *control, const void *original, size_t length, int32_t *out,
                           size_t capacity, size_t rounds) {
  uint64_t start = codec_now();
  for (size_t round = 0; round < rounds; round++) {
    codec_refill(control, original, length);
    if (codec_decode(control, length, out, capacity) == 0) abort();
    KEEP(out);
  }
  return codec_now() - start;
}

uint64_t codec_time_decode_allocating(void *control, const void *original, size_t length,
                                      size_t rounds) {
  uint64_t start = codec_now();
  for (size_t round = 0; round < rounds; round++) {
    size_t count;
    codec_refill(control, original, length);
    int32_t *out = codec_decode_allocating(control, length, &count);
    if (count == 0) abort();
    KEEP(out);
    free(out);
  }
  return codec_now() - start;
}

uint64_t codec_time_refill(void *control, const void *original, size_t length, size_t rounds) {
  uint64_t start = codec_now();
  for (size_t round = 0; round < rounds; round++) codec_refill(control, original, length);
  return codec_now() - start;
}

// SPDX-License-Identifier: Apache-2.0
// What a careful C program does with the CMSG macros: the baseline of codec-bench.
#ifndef CCODEC_H
#define CCODEC_H
#include <stddef.h>
#include <stdint.h>

// Writes one SCM_RIGHTS message; returns the bytes used, or 0 if it does not fit.
size_t codec_encode(void *control, size_t capacity, const void *descriptors, size_t count);

// Takes the descriptors of every SCM_RIGHTS message to `out`, overwriting the slots with -1;
// returns how many there were.
size_t codec_decode(void *control, size_t length, int32_t *out, size_t capacity);

// Decodes into newly allocated memory, which the caller frees.
int32_t *codec_decode_allocating(void *control, size_t length, size_t *count);

// Restores the message that a decode has overwritten: part of both loops, and subtracted from both.
void codec_refill(void *control, const void *original, size_t length);

// The loops; they return the total nanoseconds for `rounds` rounds.
uint64_t codec_time_encode(void *control, size_t capacity, const void *descriptors, size_t count,
                           size_t rounds);
uint64_t codec_time_decode(void *control, const void *original, size_t length, int32_t *out,
                           size_t capacity, size_t rounds);
uint64_t codec_time_decode_allocating(void *control, const void *original, size_t length,
                                      size_t rounds);
uint64_t codec_time_refill(void *control, const void *original, size_t length, size_t rounds);

// Nanoseconds of the monotonic clock.
uint64_t codec_now(void);
#endif

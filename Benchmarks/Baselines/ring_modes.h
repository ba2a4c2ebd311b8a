// SPDX-License-Identifier: Apache-2.0
// The modes of the io_uring baselines. The programs differ in how they receive: each supplies the
// functions below.
#ifndef RING_MODES_H
#define RING_MODES_H

#include "ring.h"

// One end of a pair.
struct end {
  // Aligned, because the low bits of its address hold the operation.
  _Alignas(8) int fd;
  unsigned index;
  struct inbox inbox;
  bool armed; // a receive is pending in the kernel
  bool closed; // the peer has closed
};

extern const struct program ring_program;
// Whether accepts are multishot too.
extern const bool ring_multishot;

struct receiver;
struct receiver *receiver_open(struct ring *ring, const struct options *options, unsigned ends);
void receiver_close(struct receiver *receiver);
// Submits a receive for an end that has none pending.
void receiver_arm(struct receiver *receiver, struct end *end);
// Processes the result of a receive; returns how many messages it completed. Updates `armed` and
// `closed`.
unsigned receiver_take(struct receiver *receiver, struct end *end, const struct io_uring_cqe *cqe);

// The state that the modes share. The ends of pair i are 2i and 2i + 1.
struct bench {
  const struct options *options;
  struct meter *meter;
  struct ring ring;
  struct receiver *receiver;
  struct outgoing message;
  struct end *ends;
  unsigned count;
};

// At most `operations` may be submitted in one turn. Pass no more than necessary, so that the ring
// stays in the cache.
void bench_open(struct bench *bench, struct meter *meter, const struct options *options,
                unsigned ends, unsigned operations);
void bench_open_pairs(struct bench *bench);
// Opens pairs of which only one end receives. Returns the other ends, which the caller closes and
// frees.
int *bench_open_receivers(struct bench *bench);
void bench_close(struct bench *bench);
// Fails unless the whole message was sent: a peer would wait forever for the missing bytes.
void bench_check_sent(const struct bench *bench, const struct io_uring_cqe *cqe);
// Returns how many messages a receive completed.
unsigned bench_take(struct bench *bench, struct end *end, const struct io_uring_cqe *cqe);
void bench_keep_armed(struct bench *bench, struct end *end);

void ring_pingpong(struct meter *meter, const struct options *options, unsigned pairs);
void ring_oneway(struct meter *meter, const struct options *options, unsigned pairs);
void ring_idle(struct meter *meter, const struct options *options, unsigned pairs);
void ring_cancel(struct meter *meter, const struct options *options, unsigned pairs);
void ring_twoprocesses(struct meter *meter, const struct options *options, unsigned pairs);
void ring_accept(struct meter *meter, const struct options *options, unsigned pairs);

#endif

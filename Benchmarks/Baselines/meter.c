// SPDX-License-Identifier: Apache-2.0
#include <pthread.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "baseline.h"

static uint64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static pthread_barrier_t ready;

void meters_expect(unsigned threads) {
  check_ring(-pthread_barrier_init(&ready, NULL, threads), "pthread_barrier_init");
}

void meter_start(struct meter *meter) {
  pthread_barrier_wait(&ready);
  meter->phase = WARMING;
  meter->phase_start = now();
}

void meter_begin(struct meter *meter) {
  meter->phase = MEASURING;
  meter->first_message = meter->received;
  meter->first_enter = meter->enters;
  meter->phase_start = now();
}

void meter_end(struct meter *meter) {
  meter->elapsed_ns = now() - meter->phase_start;
  meter->phase = DONE;
  meter->messages = meter->received - meter->first_message;
  meter->enters_measured = meter->enters - meter->first_enter;
}

static bool measured_enough(const struct meter *meter, uint64_t elapsed) {
  uint64_t wanted = meter->options->messages;
  if (wanted > 0) return meter->received - meter->first_message >= wanted;
  return elapsed >= meter->options->seconds * 1e9;
}

bool meter_running(struct meter *meter) {
  if (meter->phase == DONE) return false;
  // Reading the clock costs up to a hundredth of a message, so do it only occasionally.
  if (meter->received < meter->check_at) return true;
  meter->check_at = meter->received + 64;
  uint64_t elapsed = now() - meter->phase_start;
  if (meter->phase == WARMING) {
    if (elapsed >= meter->options->warmup * 1e9) meter_begin(meter);
  } else if (measured_enough(meter, elapsed)) {
    meter_end(meter);
  }
  return meter->phase != DONE;
}

size_t resident_bytes(void) {
  FILE *file = fopen("/proc/self/statm", "r");
  unsigned long total, resident;
  if (file == NULL || fscanf(file, "%lu %lu", &total, &resident) != 2)
    fail("/proc/self/statm cannot be read");
  fclose(file);
  return resident * (size_t)sysconf(_SC_PAGESIZE);
}

// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "Threads.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct cms_gate {
  sem_t semaphore;
};

cms_gate *cms_gate_create(void) {
  cms_gate *gate = malloc(sizeof *gate);
  if (gate != NULL) (void)sem_init(&gate->semaphore, 0, 0);
  return gate;
}

void cms_gate_destroy(cms_gate *gate) {
  (void)sem_destroy(&gate->semaphore);
  free(gate);
}

void cms_gate_open(cms_gate *gate) { (void)sem_post(&gate->semaphore); }

void cms_gate_wait(cms_gate *gate) {
  while (sem_wait(&gate->semaphore) < 0 && errno == EINTR) {}
}

struct start {
  void (*body)(void *);
  void *context;
};

static void *run(void *argument) {
  struct start start = *(struct start *)argument;
  free(argument);
  start.body(start.context);
  return NULL;
}

int32_t cms_thread_start(void (*body)(void *), void *context, const char *name) {
  struct start *start = malloc(sizeof *start);
  if (start == NULL) return -ENOMEM;
  *start = (struct start){body, context};

  sigset_t all, before;
  sigfillset(&all);
  // Faults belong to the thread that causes them: blocked, they end the process without a word of
  // the program's crash handler.
  static const int faults[] = {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP};
  for (size_t index = 0; index < sizeof faults / sizeof *faults; index++)
    sigdelset(&all, faults[index]);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread;
  int status = pthread_create(&thread, NULL, run, start);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (status != 0) {
    free(start);
    return -status;
  }
  char shortened[16] = {0};
  strncpy(shortened, name, sizeof shortened - 1);
  (void)pthread_setname_np(thread, shortened);
  (void)pthread_detach(thread);
  return 0;
}

uintptr_t cms_thread_self(void) { return (uintptr_t)pthread_self(); }

void cms_sleep(uint32_t milliseconds) {
  struct timespec rest = {.tv_sec = milliseconds / 1000,
                          .tv_nsec = (long)(milliseconds % 1000) * 1000000};
  while (nanosleep(&rest, &rest) < 0 && errno == EINTR) {}
}

int32_t cms_usable_processors(void) {
  cpu_set_t processors;
  if (sched_getaffinity(0, sizeof processors, &processors) < 0) return 1;
  int count = CPU_COUNT(&processors);
  return count > 0 ? count : 1;
}

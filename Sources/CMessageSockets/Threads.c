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
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

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

bool cms_gate_wait_for(cms_gate *gate, uint32_t milliseconds) {
  struct timespec end = {0};
  (void)clock_gettime(CLOCK_REALTIME, &end);
  end.tv_sec += milliseconds / 1000;
  end.tv_nsec += (long)(milliseconds % 1000) * 1000000;
  if (end.tv_nsec >= 1000000000) {
    end.tv_sec += 1;
    end.tv_nsec -= 1000000000;
  }
  int status;
  do {
    status = sem_timedwait(&gate->semaphore, &end);
  } while (status < 0 && errno == EINTR);
  return status == 0;
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
  // A fault must reach the thread that causes it: if the signal were blocked, the process would end
  // without running the program's crash handler.
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

static _Thread_local void *loop_of_thread;

void *cms_loop_of_thread(void) { return loop_of_thread; }
void cms_set_loop_of_thread(void *loop) { loop_of_thread = loop; }

bool cms_is_main_thread(void) { return syscall(SYS_gettid) == getpid(); }

uintptr_t cms_thread_self(void) { return (uintptr_t)pthread_self(); }

int64_t cms_clock_coarse_nanoseconds(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &time);
  return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

int64_t cms_clock_nanoseconds(void) {
  struct timespec time = {0};
  (void)clock_gettime(CLOCK_BOOTTIME, &time);
  return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

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

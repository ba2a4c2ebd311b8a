// SPDX-License-Identifier: Apache-2.0
#include "baseline.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

static const char *program_name = "baseline";

// MARK: Failures

_Noreturn void fail(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fprintf(stderr, "%s: ", program_name);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  va_end(arguments);
  exit(1);
}

int check(int result, const char *what) {
  if (result < 0) fail("%s: %s", what, strerror(errno));
  return result;
}

int check_ring(int result, const char *what) {
  if (result < 0) fail("%s: %s", what, strerror(-result));
  return result;
}

void *allocate(size_t count, size_t size) {
  void *memory = calloc(count, size);
  if (memory == NULL) fail("out of memory");
  return memory;
}

// MARK: Sockets

void open_pair(const struct options *options, int ends[2]) {
  check(socketpair(AF_UNIX, options->kind | SOCK_CLOEXEC, 0, ends), "socketpair");
}

void listener_open(struct listener *listener, const struct options *options) {
  // Binding the bare family makes the kernel choose a free abstract name.
  struct sockaddr_un automatic = {.sun_family = AF_UNIX};
  listener->fd = check(socket(AF_UNIX, options->kind | SOCK_CLOEXEC, 0), "socket");
  check(bind(listener->fd, (struct sockaddr *)&automatic, sizeof automatic.sun_family), "bind");
  listener->address_length = sizeof listener->address;
  check(getsockname(listener->fd, (struct sockaddr *)&listener->address, &listener->address_length),
        "getsockname");
  check(listen(listener->fd, SOMAXCONN), "listen");
}

int open_client(const struct options *options) {
  return check(socket(AF_UNIX, options->kind | SOCK_CLOEXEC, 0), "socket");
}

// MARK: Running

static unsigned count_open_descriptors(void) {
  DIR *directory = opendir("/proc/self/fd");
  if (directory == NULL) fail("/proc/self/fd cannot be read");
  unsigned count = 0;
  while (readdir(directory) != NULL) count++;
  closedir(directory);
  return count;
}

struct thread {
  pthread_t handle;
  worker work;
  unsigned pairs;
  struct meter meter;
};

static void *thread_main(void *argument) {
  struct thread *thread = argument;
  thread->work(&thread->meter, thread->meter.options, thread->pairs);
  return NULL;
}

static void run_threads(struct thread *threads, const struct options *options, worker work) {
  meters_expect(options->threads);
  for (unsigned i = 0; i < options->threads; i++) {
    threads[i].work = work;
    threads[i].pairs = options->pairs / options->threads + (i < options->pairs % options->threads);
    threads[i].meter.options = options;
    if (i > 0)
      check_ring(-pthread_create(&threads[i].handle, NULL, thread_main, &threads[i]),
                 "pthread_create");
  }
  // The first share runs here, so a single-threaded baseline is a single-threaded process.
  thread_main(&threads[0]);
  for (unsigned i = 1; i < options->threads; i++)
    check_ring(-pthread_join(threads[i].handle, NULL), "pthread_join");
}

static void print_figure(const char *name, bool applies, double value) {
  if (applies)
    printf(",\"%s\":%.1f", name, value);
  else
    printf(",\"%s\":null", name);
}

static void report(const struct thread *threads, const struct options *options) {
  double messages_per_ns = 0;
  uint64_t messages = 0, enters = 0;
  for (unsigned i = 0; i < options->threads; i++) {
    const struct meter *meter = &threads[i].meter;
    if (meter->messages == 0) fail("nothing was measured");
    messages_per_ns += (double)meter->messages / (double)meter->elapsed_ns;
    messages += meter->messages;
    enters += meter->enters_measured;
  }
  enum mode mode = options->mode;
  printf("{\"program\":\"%s\",\"mode\":\"%s\",\"kind\":\"%s\",\"pairs\":%u,\"fds\":%u,\"bytes\":%u,"
         "\"threads\":%u",
         options->program, mode_names[mode], kind_name(options->kind), options->pairs, options->fds,
         options->bytes, mode == PERSIDE ? 2 * options->threads : options->threads);
  bool has_roundtrips =
      mode == PINGPONG || mode == TWOTHREADS || mode == PERSIDE || mode == TWOPROCESSES;
  print_figure("ns_per_roundtrip", has_roundtrips, 2 / messages_per_ns);
  print_figure("ns_per_message", true, 1 / messages_per_ns);
  print_figure("resident_bytes_per_connection", mode == IDLE, threads[0].meter.resident_bytes);
  printf(",\"messages\":%llu,\"enters_per_message\":%.4f}\n", (unsigned long long)messages,
         (double)enters / (double)messages);
}

int run(const struct program *program, int argc, char **argv) {
  program_name = program->name;
  struct options options = parse(program, argc, argv);
  unsigned before = count_open_descriptors();
  struct thread *threads = allocate(options.threads, sizeof *threads);
  run_threads(threads, &options, program->modes[options.mode]);
  unsigned after = count_open_descriptors();
  if (after != before) fail("%d descriptors leaked", (int)after - (int)before);
  report(threads, &options);
  free(threads);
  return 0;
}

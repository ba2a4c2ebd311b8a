// SPDX-License-Identifier: Apache-2.0
// What the comparison measures of handover.c. See ../README.md.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "handover.h"

struct round {
  int ends[2], cancel, result, error;
  pthread_barrier_t begun;
};

static int open_descriptors(void) {
  DIR *directory = opendir("/proc/self/fd");
  int count = 0;
  while (readdir(directory)) count++;
  closedir(directory);
  return count;
}

static void spin(long nanoseconds) {
  struct timespec start, now;
  clock_gettime(CLOCK_MONOTONIC, &start);
  do clock_gettime(CLOCK_MONOTONIC, &now);
  while ((now.tv_sec - start.tv_sec) * 1000000000L + now.tv_nsec - start.tv_nsec < nanoseconds);
}

/// What a program does at first: recvmsg(2) waits, pthread_cancel(3) ends it.
static int receive_plainly(int peer) {
  char byte, space[CMSG_SPACE(sizeof(int))];
  struct iovec bytes = {&byte, 1};
  struct msghdr message = {
      .msg_iov = &bytes, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
  if (recvmsg(peer, &message, 0) <= 0 || message.msg_controllen < CMSG_LEN(sizeof(int))) return -1;
  int number;
  memcpy(&number, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof number);
  return number;
}

static void *receiver(void *argument) {
  struct round *round = argument;
  pthread_barrier_wait(&round->begun);
  round->result = receive(round->ends[1], round->cancel, 5000);
  return NULL;
}

static void *plain_receiver(void *argument) {
  struct round *round = argument;
  pthread_barrier_wait(&round->begun);
  int number = receive_plainly(round->ends[1]);
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
  round->result = number;
  return NULL;
}

static int cancel_rounds(int count, int plain) {
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (listen(listener, 8)) return 1;
  int before = open_descriptors(), received = 0, left = 0, lost = 0;
  for (int i = 0; i < count; i++) {
    struct round round = {.result = -1, .cancel = eventfd(0, EFD_CLOEXEC)};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, round.ends)) return 1;
    pthread_barrier_init(&round.begun, NULL, 2);
    pthread_t thread;
    if (pthread_create(&thread, NULL, plain ? plain_receiver : receiver, &round)) return 1;
    pthread_barrier_wait(&round.begun);
    spin(20000);
    if (pass(round.ends[0], listener)) return 1;
    spin(i * 7919L % 100000);
    if (plain)
      pthread_cancel(thread);
    else if (write(round.cancel, &(long){1}, 8) != 8)
      return 1;
    pthread_join(thread, NULL);
    if (round.result >= 0) {
      received++;
      close(round.result);
    } else {
      int pending = fcntl(round.ends[1], F_SETFL, O_NONBLOCK) ? -1 : receive_plainly(round.ends[1]);
      if (pending >= 0)
        left++, close(pending);
      else
        lost++;
    }
    close(round.ends[0]);
    close(round.ends[1]);
    close(round.cancel);
    pthread_barrier_destroy(&round.begun);
  }
  printf("{\"received\": %d, \"left\": %d, \"lost\": %d, \"leaked\": %d}\n", received, left, lost,
         open_descriptors() - before);
  return 0;
}

static int is_close_on_exec(int number) { return (fcntl(number, F_GETFD) & FD_CLOEXEC) != 0; }

static int control(void) {
  int never = eventfd(0, EFD_CLOEXEC), before = open_descriptors();
  int careful = receive(3, never, 5000), plain = receive_plainly(3);
  int flags[] = {is_close_on_exec(careful), is_close_on_exec(plain)};
  close(careful);
  close(plain);
  const char *outcome = receive(3, never, 5000) < 0 ? strerror(errno) : "received";
  int leaked = open_descriptors() - before;
  close(receive_plainly(3));
  printf("{\"cloexec\": %d, \"plain_cloexec\": %d, \"three\": \"%s\", \"leaked\": %d, "
         "\"plain_leaked\": %d}\n",
         flags[0], flags[1], outcome, leaked, open_descriptors() - before - leaked);
  return 0;
}

int main(int count, char **arguments) {
  const char *mode = count > 1 ? arguments[1] : "";
  if (!strcmp(mode, "cancel")) return cancel_rounds(atoi(arguments[2]), 0);
  if (!strcmp(mode, "plain")) return cancel_rounds(atoi(arguments[2]), 1);
  if (!strcmp(mode, "control")) return control();
  int never = eventfd(0, EFD_CLOEXEC);
  while (!serve(3, never)) {}
  return errno == 0 ? 0 : 1;
}

// SPDX-License-Identifier: Apache-2.0
// Passes a listener to a worker COUNT times, and connects each time:
//
//   parent COUNT WORKER [ARGUMENT …]
//
// Prints the time of one hand-over in microseconds, and whether the listener has become
// non-blocking, here in the parent.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "handover.h"

static void check(int succeeded, const char *what) {
  if (succeeded) return;
  perror(what);
  exit(1);
}

static void hand_over(int peer, int listener, struct sockaddr_in *address) {
  check(pass(peer, listener) == 0, "pass");
  int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  check(connect(client, (struct sockaddr *)address, sizeof *address) == 0, "connect");
  char answer[16];
  ssize_t length = 0, more;
  while ((more = read(client, answer + length, sizeof answer - (size_t)length)) > 0) length += more;
  check(length == 6 && !memcmp(answer, "hello\n", 6), "answer");
  close(client);
}

int main(int count, char **arguments) {
  if (count < 3) return 2;
  int rounds = atoi(arguments[1]), ends[2];
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  check(bind(listener, (struct sockaddr *)&address, length) == 0, "bind");
  check(listen(listener, 64) == 0, "listen");
  check(getsockname(listener, (struct sockaddr *)&address, &length) == 0, "getsockname");
  check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0, "socketpair");
  pid_t worker = fork();
  if (worker == 0) {
    // A descriptor that is 3 already would stay close-on-exec.
    if (ends[1] == 3)
      fcntl(3, F_SETFD, 0);
    else
      dup2(ends[1], 3);
    execvp(arguments[2], arguments + 2);
    _exit(127);
  }
  close(ends[1]);
  hand_over(ends[0], listener, &address);
  int blocks = !(fcntl(listener, F_GETFL) & O_NONBLOCK);
  struct timespec start, end;
  clock_gettime(CLOCK_MONOTONIC, &start);
  for (int i = 0; i < rounds; i++) hand_over(ends[0], listener, &address);
  clock_gettime(CLOCK_MONOTONIC, &end);
  close(ends[0]);
  waitpid(worker, NULL, 0);
  double nanoseconds =
      (double)(end.tv_sec - start.tv_sec) * 1e9 + (double)(end.tv_nsec - start.tv_nsec);
  printf("{\"microseconds\": %.2f, \"nonblocking\": %d}\n", nanoseconds / rounds / 1000, !blocks);
  return 0;
}

// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "handover.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int pass(int peer, int listener) {
  union {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof(int))];
  } control = {0};
  struct iovec byte = {"L", 1};
  struct msghdr message = {
      .msg_iov = &byte, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  control.header = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
  memcpy(CMSG_DATA(&control.header), &listener, sizeof(int));
  return sendmsg(peer, &message, MSG_NOSIGNAL) < 0 ? -1 : 0;
}

/// -1 at the end and on errors: ETIMEDOUT, ECANCELED (`cancel` is readable), EBADMSG.
int receive(int peer, int cancel, int milliseconds) {
  struct pollfd ready[] = {{peer, POLLIN, 0}, {cancel, POLLIN, 0}};
  int count = poll(ready, 2, milliseconds);
  if (count < 0) return -1;
  if (count == 0) return errno = ETIMEDOUT, -1;
  if (ready[1].revents) return errno = ECANCELED, -1;
  union {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof(int))];
  } control;
  char byte;
  struct iovec bytes = {&byte, 1};
  struct msghdr message = {.msg_iov = &bytes,
                           .msg_iovlen = 1,
                           .msg_control = &control,
                           .msg_controllen = sizeof control};
  ssize_t length = recvmsg(peer, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  if (length <= 0) return errno = length == 0 ? 0 : errno, -1;
  // The padding has room for a second descriptor: all that came have to be closed.
  int numbers[2], found = 0;
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
    found = (int)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    memcpy(numbers, CMSG_DATA(header), (size_t)found * sizeof(int));
  }
  if (found == 1 && !(message.msg_flags & MSG_CTRUNC)) return numbers[0];
  for (int i = 0; i < found; i++) close(numbers[i]);
  return errno = EBADMSG, -1;
}

int serve(int peer, int cancel) {
  int listener = receive(peer, cancel, 5000);
  if (listener < 0) return -1;
  struct pollfd ready = {listener, POLLIN, 0};
  int client = poll(&ready, 1, 5000) == 1 ? accept4(listener, NULL, NULL, SOCK_CLOEXEC) : -1;
  int failed = client < 0 || send(client, "hello\n", 6, MSG_NOSIGNAL) != 6;
  if (client >= 0) close(client);
  close(listener);
  return failed ? -1 : 0;
}

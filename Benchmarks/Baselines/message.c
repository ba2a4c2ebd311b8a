// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "baseline.h"

// MARK: Sending

static const char PATTERN = 0x5a;

static void attach_descriptors(struct outgoing *message, unsigned count) {
  size_t length = count * sizeof(int);
  message->header.msg_control = message->control;
  message->header.msg_controllen = CMSG_SPACE(length);
  struct cmsghdr *rights = CMSG_FIRSTHDR(&message->header);
  rights->cmsg_level = SOL_SOCKET;
  rights->cmsg_type = SCM_RIGHTS;
  rights->cmsg_len = CMSG_LEN(length);
  for (unsigned i = 0; i < count; i++) {
    memcpy(CMSG_DATA(rights) + i * sizeof(int), &message->descriptor, sizeof(int));
  }
}

void outgoing_open(struct outgoing *message, const struct options *options) {
  memset(message, 0, sizeof *message);
  message->bytes = allocate(1, options->bytes);
  memset(message->bytes, PATTERN, options->bytes);
  message->payload = (struct iovec){.iov_base = message->bytes, .iov_len = options->bytes};
  message->header.msg_iov = &message->payload;
  message->header.msg_iovlen = 1;
  message->descriptor = check(open("/dev/null", O_RDONLY | O_CLOEXEC), "/dev/null");
  if (options->fds > 0) attach_descriptors(message, options->fds);
  // On a stream, the kernel itself sends the rest after a short send, without repeating the
  // descriptors.
  message->flags = MSG_NOSIGNAL | (options->kind == SOCK_STREAM ? MSG_WAITALL : 0);
}

void outgoing_close(struct outgoing *message) {
  close(message->descriptor);
  free(message->bytes);
}

// MARK: Receiving

static unsigned close_rights(const struct cmsghdr *rights) {
  unsigned count = (rights->cmsg_len - CMSG_LEN(0)) / sizeof(int);
  for (unsigned i = 0; i < count; i++) {
    int descriptor;
    memcpy(&descriptor, CMSG_DATA(rights) + i * sizeof(int), sizeof descriptor);
    check(close(descriptor), "close of a received descriptor");
  }
  return count;
}

static unsigned close_descriptors(const struct received *received) {
  struct msghdr view = {.msg_control = received->control,
                        .msg_controllen = received->control_length};
  unsigned count = 0;
  for (struct cmsghdr *item = CMSG_FIRSTHDR(&view); item != NULL; item = CMSG_NXTHDR(&view, item)) {
    if (item->cmsg_level == SOL_SOCKET && item->cmsg_type == SCM_RIGHTS)
      count += close_rights(item);
  }
  return count;
}

static void check_payload(const struct received *received) {
  if (received->length == 0) fail("the peer closed, or an empty message arrived");
  if (received->payload[0] != PATTERN || received->payload[received->length - 1] != PATTERN) {
    fail("a received payload has the wrong bytes");
  }
}

unsigned inbox_take(struct inbox *inbox, const struct options *options,
                    const struct received *received) {
  // Take the descriptors first, check later. Without a control buffer, CTRUNC says nothing about
  // our descriptors.
  unsigned descriptors = received->control_length > 0 ? close_descriptors(received) : 0;
  if (options->fds > 0 && (received->flags & MSG_CTRUNC)) fail("truncated control data");
  if (received->flags & MSG_TRUNC) fail("truncated payload");
  check_payload(received);

  // Descriptors come with the first byte of their own send, so count the messages that begin in
  // this receive.
  unsigned size = options->bytes;
  unsigned reach = inbox->partial + (unsigned)received->length;
  unsigned begun = (reach + size - 1) / size - (inbox->partial > 0);
  if (descriptors != begun * options->fds) {
    fail("%u descriptors arrived instead of %u", descriptors, begun * options->fds);
  }
  if (options->kind != SOCK_STREAM && reach != size)
    fail("%u bytes arrived instead of %u", reach, size);
  inbox->partial = reach % size;
  return reach / size;
}

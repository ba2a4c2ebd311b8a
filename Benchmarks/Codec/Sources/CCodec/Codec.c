// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "CCodec.h"
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

size_t codec_encode(void *control, size_t capacity, const void *descriptors, size_t count) {
  size_t payload = count * sizeof(int32_t);
  if (count > 253 || CMSG_SPACE(payload) > capacity) return 0;
  struct msghdr message = {.msg_control = control, .msg_controllen = CMSG_SPACE(payload)};
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(payload);
  memcpy(CMSG_DATA(header), descriptors, payload);
  // No stale byte of the padding leaves the process.
  memset(CMSG_DATA(header) + payload, 0, CMSG_SPACE(payload) - CMSG_LEN(payload));
  return message.msg_controllen;
}

size_t codec_decode(void *control, size_t length, int32_t *out, size_t capacity) {
  struct msghdr message = {.msg_control = control, .msg_controllen = length};
  size_t taken = 0;
  for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header;
       header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int32_t);
    unsigned char *data = CMSG_DATA(header);
    if (count > capacity - taken) count = capacity - taken;
    int32_t signs = 0;
    for (size_t index = 0; index < count; index++) {
      int32_t slot;
      memcpy(&slot, data + index * sizeof slot, sizeof slot);
      signs |= slot;
    }
    // A negative slot is an error, not a descriptor; the kernel sends none today.
    if (signs < 0) continue;
    memcpy(out + taken, data, count * sizeof(int32_t));
    memset(data, 0xFF, count * sizeof(int32_t));
    taken += count;
  }
  return taken;
}

int32_t *codec_decode_allocating(void *control, size_t length, size_t *count) {
  int32_t *out = malloc(253 * sizeof(int32_t));
  *count = out ? codec_decode(control, length, out, 253) : 0;
  return out;
}

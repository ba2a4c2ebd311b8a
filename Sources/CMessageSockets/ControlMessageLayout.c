#define _GNU_SOURCE
#include "ControlMessageLayout.h"
#include <sys/socket.h>

size_t cms_cmsg_len(size_t payload) { return CMSG_LEN(payload); }
size_t cms_cmsg_space(size_t payload) { return CMSG_SPACE(payload); }
size_t cms_cmsg_align(size_t length) { return CMSG_ALIGN(length); }

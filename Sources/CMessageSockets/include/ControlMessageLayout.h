// Control-message arithmetic and the constants and layouts that Swift cannot see on Glibc.
#ifndef CMESSAGESOCKETS_CONTROL_MESSAGE_LAYOUT_H
#define CMESSAGESOCKETS_CONTROL_MESSAGE_LAYOUT_H
#include <stddef.h>
#include <stdint.h>
size_t cms_cmsg_len(size_t payload);
size_t cms_cmsg_space(size_t payload);
size_t cms_cmsg_align(size_t length);
#endif

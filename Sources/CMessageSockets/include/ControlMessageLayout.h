// SPDX-License-Identifier: Apache-2.0
// Control-message arithmetic, and the numbers that Swift cannot see on Glibc or that Debian 12's
// headers lack.
//
// The numbers are Linux's; ControlMessageLayout.c asserts at compile time that each equals the
// system header's, where that has it.
#ifndef CMESSAGESOCKETS_CONTROL_MESSAGE_LAYOUT_H
#define CMESSAGESOCKETS_CONTROL_MESSAGE_LAYOUT_H
#include <stddef.h>
#include <stdint.h>

// CMSG_LEN, CMSG_SPACE and CMSG_ALIGN of this system.
size_t cms_cmsg_len(size_t payload);
size_t cms_cmsg_space(size_t payload);
size_t cms_cmsg_align(size_t length);

// Levels.
#define CMS_SOL_SOCKET 1
#define CMS_IPPROTO_IP 0
#define CMS_IPPROTO_IPV6 41
#define CMS_IPPROTO_TCP 6
#define CMS_IPPROTO_UDP 17

// SOL_SOCKET
#define CMS_SCM_RIGHTS 1
#define CMS_SCM_CREDENTIALS 2
#define CMS_SCM_SECURITY 3
#define CMS_SCM_PIDFD 4
#define CMS_SO_TIMESTAMP_OLD 29
#define CMS_SO_TIMESTAMPNS_OLD 35
#define CMS_SO_MARK 36
#define CMS_SO_TIMESTAMPING_OLD 37
#define CMS_SO_RXQ_OVFL 40
#define CMS_SO_TXTIME 61
#define CMS_SO_TIMESTAMP_NEW 63
#define CMS_SO_TIMESTAMPNS_NEW 64
#define CMS_SO_TIMESTAMPING_NEW 65
#define CMS_SCM_INQ 84

// IPPROTO_IP
#define CMS_IP_TOS 1
#define CMS_IP_TTL 2
#define CMS_IP_PKTINFO 8
#define CMS_IP_RECVERR 11
#define CMS_IP_ORIGDSTADDR 20

// IPPROTO_IPV6
#define CMS_IPV6_RECVERR 25
#define CMS_IPV6_PKTINFO 50
#define CMS_IPV6_HOPLIMIT 52
#define CMS_IPV6_TCLASS 67
#define CMS_IPV6_ORIGDSTADDR 74

// IPPROTO_TCP (TCP_CM_INQ is the same number)
#define CMS_TCP_INQ 36

// IPPROTO_UDP
#define CMS_UDP_SEGMENT 103
#define CMS_UDP_GRO 104

#endif

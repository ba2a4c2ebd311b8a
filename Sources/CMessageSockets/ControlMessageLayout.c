// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "ControlMessageLayout.h"
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <sys/socket.h>

size_t cms_cmsg_len(size_t payload) { return CMSG_LEN(payload); }
size_t cms_cmsg_space(size_t payload) { return CMSG_SPACE(payload); }
size_t cms_cmsg_align(size_t length) { return CMSG_ALIGN(length); }

#define SAME(name) _Static_assert(CMS_##name == name, #name)

SAME(SOL_SOCKET);
SAME(IPPROTO_IP);
SAME(IPPROTO_IPV6);
SAME(IPPROTO_TCP);
SAME(IPPROTO_UDP);

SAME(SCM_RIGHTS);
SAME(SCM_CREDENTIALS);
// The kernel's own header has these two, glibc 2.36 does not.
#ifdef SCM_SECURITY
SAME(SCM_SECURITY);
#endif
#ifdef SCM_PIDFD
SAME(SCM_PIDFD);
#endif
#ifdef SO_TIMESTAMP_OLD
SAME(SO_TIMESTAMP_OLD);
SAME(SO_TIMESTAMPNS_OLD);
SAME(SO_TIMESTAMPING_OLD);
SAME(SO_TIMESTAMP_NEW);
SAME(SO_TIMESTAMPNS_NEW);
SAME(SO_TIMESTAMPING_NEW);
#endif
SAME(SO_MARK);
SAME(SO_RXQ_OVFL);
SAME(SO_TXTIME);
#ifdef SCM_INQ
SAME(SCM_INQ);
#endif

SAME(IP_TOS);
SAME(IP_TTL);
SAME(IP_PKTINFO);
SAME(IP_RECVERR);
#ifdef IP_ORIGDSTADDR
SAME(IP_ORIGDSTADDR);
#endif

SAME(IPV6_RECVERR);
SAME(IPV6_PKTINFO);
SAME(IPV6_HOPLIMIT);
SAME(IPV6_TCLASS);
#ifdef IPV6_ORIGDSTADDR
SAME(IPV6_ORIGDSTADDR);
#endif

#ifdef TCP_INQ
SAME(TCP_INQ);
#endif

#ifdef UDP_SEGMENT
SAME(UDP_SEGMENT);
SAME(UDP_GRO);
#endif

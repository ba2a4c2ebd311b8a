// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "ControlMessages.h"
#include <time.h>

#include <linux/errqueue.h>
#include <linux/net_tstamp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <sys/socket.h>

size_t cms_cmsg_len(size_t payload) { return CMSG_LEN(payload); }
size_t cms_cmsg_space(size_t payload) { return CMSG_SPACE(payload); }
size_t cms_cmsg_align(size_t length) { return CMSG_ALIGN(length); }

#define SAME(ours, system) _Static_assert(ours == system, #system)

SAME(cms_sol_socket, SOL_SOCKET);
SAME(cms_ipproto_ip, IPPROTO_IP);
SAME(cms_ipproto_ipv6, IPPROTO_IPV6);
SAME(cms_ipproto_tcp, IPPROTO_TCP);
SAME(cms_ipproto_udp, IPPROTO_UDP);

SAME(cms_scm_rights, SCM_RIGHTS);
SAME(cms_scm_credentials, SCM_CREDENTIALS);
// The kernel's own headers define these two; those of glibc 2.36 do not.
#ifdef SCM_SECURITY
SAME(cms_scm_security, SCM_SECURITY);
#endif
#ifdef SCM_PIDFD
SAME(cms_scm_pidfd, SCM_PIDFD);
#endif
#ifdef SO_TIMESTAMP_OLD
SAME(cms_so_timestamp_old, SO_TIMESTAMP_OLD);
SAME(cms_so_timestampns_old, SO_TIMESTAMPNS_OLD);
SAME(cms_so_timestamping_old, SO_TIMESTAMPING_OLD);
SAME(cms_so_timestamp_new, SO_TIMESTAMP_NEW);
SAME(cms_so_timestampns_new, SO_TIMESTAMPNS_NEW);
SAME(cms_so_timestamping_new, SO_TIMESTAMPING_NEW);
#endif
SAME(cms_so_mark, SO_MARK);
SAME(cms_so_rxq_ovfl, SO_RXQ_OVFL);
SAME(cms_so_txtime, SO_TXTIME);
#ifdef SCM_INQ
SAME(cms_scm_inq, SCM_INQ);
#endif

SAME(cms_ip_tos, IP_TOS);
SAME(cms_ip_ttl, IP_TTL);
SAME(cms_ip_pktinfo, IP_PKTINFO);
SAME(cms_ip_recverr, IP_RECVERR);
#ifdef IP_ORIGDSTADDR
SAME(cms_ip_origdstaddr, IP_ORIGDSTADDR);
#endif

SAME(cms_ipv6_recverr, IPV6_RECVERR);
SAME(cms_ipv6_pktinfo, IPV6_PKTINFO);
SAME(cms_ipv6_hoplimit, IPV6_HOPLIMIT);
SAME(cms_ipv6_tclass, IPV6_TCLASS);
#ifdef IPV6_ORIGDSTADDR
SAME(cms_ipv6_origdstaddr, IPV6_ORIGDSTADDR);
#endif

#ifdef TCP_INQ
SAME(cms_tcp_inq, TCP_INQ);
#endif

#ifdef UDP_SEGMENT
SAME(cms_udp_segment, UDP_SEGMENT);
SAME(cms_udp_gro, UDP_GRO);
#endif

SAME(cms_ee_origin_none, SO_EE_ORIGIN_NONE);
SAME(cms_ee_origin_local, SO_EE_ORIGIN_LOCAL);
SAME(cms_ee_origin_icmp, SO_EE_ORIGIN_ICMP);
SAME(cms_ee_origin_icmp6, SO_EE_ORIGIN_ICMP6);
SAME(cms_ee_origin_timestamping, SO_EE_ORIGIN_TIMESTAMPING);
SAME(cms_ee_origin_zerocopy, SO_EE_ORIGIN_ZEROCOPY);
SAME(cms_ee_origin_txtime, SO_EE_ORIGIN_TXTIME);

SAME(cms_timestamping_tx_hardware, SOF_TIMESTAMPING_TX_HARDWARE);
SAME(cms_timestamping_tx_software, SOF_TIMESTAMPING_TX_SOFTWARE);
SAME(cms_timestamping_tx_sched, SOF_TIMESTAMPING_TX_SCHED);
SAME(cms_timestamping_tx_ack, SOF_TIMESTAMPING_TX_ACK);

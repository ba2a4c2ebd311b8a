// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "SocketOptions.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#define SAME(ours, system) _Static_assert(ours == system, #system)

SAME(cms_so_reuseaddr, SO_REUSEADDR);
SAME(cms_so_type, SO_TYPE);
SAME(cms_so_error, SO_ERROR);
SAME(cms_so_broadcast, SO_BROADCAST);
SAME(cms_so_sndbuf, SO_SNDBUF);
SAME(cms_so_rcvbuf, SO_RCVBUF);
SAME(cms_so_keepalive, SO_KEEPALIVE);
SAME(cms_so_priority, SO_PRIORITY);
SAME(cms_so_linger, SO_LINGER);
SAME(cms_so_reuseport, SO_REUSEPORT);
SAME(cms_so_passcred, SO_PASSCRED);
SAME(cms_so_peercred, SO_PEERCRED);
#if __SIZEOF_LONG__ == 8
SAME(cms_so_sndtimeo, SO_SNDTIMEO);
#endif
SAME(cms_so_acceptconn, SO_ACCEPTCONN);
SAME(cms_so_peersec, SO_PEERSEC);
SAME(cms_so_passsec, SO_PASSSEC);
SAME(cms_so_timestampns, SO_TIMESTAMPNS);
SAME(cms_so_timestamping, SO_TIMESTAMPING);
SAME(cms_so_protocol, SO_PROTOCOL);
SAME(cms_so_domain, SO_DOMAIN);
#ifdef SO_PEERGROUPS
SAME(cms_so_peergroups, SO_PEERGROUPS);
#endif
#ifdef SO_RCVMARK
SAME(cms_so_rcvmark, SO_RCVMARK);
#endif
#ifdef SO_PASSPIDFD
SAME(cms_so_passpidfd, SO_PASSPIDFD);
#endif
#ifdef SO_PEERPIDFD
SAME(cms_so_peerpidfd, SO_PEERPIDFD);
#endif
#ifdef SO_PASSRIGHTS
SAME(cms_so_passrights, SO_PASSRIGHTS);
#endif
#ifdef SO_INQ
SAME(cms_so_inq, SO_INQ);
#endif

SAME(cms_ip_recvttl, IP_RECVTTL);
SAME(cms_ip_recvtos, IP_RECVTOS);
#ifdef IP_RECVORIGDSTADDR
SAME(cms_ip_recvorigdstaddr, IP_RECVORIGDSTADDR);
#endif
SAME(cms_mcast_join_group, MCAST_JOIN_GROUP);
SAME(cms_mcast_leave_group, MCAST_LEAVE_GROUP);

SAME(cms_ipv6_unicast_hops, IPV6_UNICAST_HOPS);
SAME(cms_ipv6_v6only, IPV6_V6ONLY);
SAME(cms_ipv6_recvpktinfo, IPV6_RECVPKTINFO);
SAME(cms_ipv6_recvhoplimit, IPV6_RECVHOPLIMIT);
SAME(cms_ipv6_recvtclass, IPV6_RECVTCLASS);
#ifdef IPV6_RECVORIGDSTADDR
SAME(cms_ipv6_recvorigdstaddr, IPV6_RECVORIGDSTADDR);
#endif

SAME(cms_tcp_nodelay, TCP_NODELAY);
SAME(cms_tcp_cork, TCP_CORK);
SAME(cms_tcp_keepidle, TCP_KEEPIDLE);
SAME(cms_tcp_keepintvl, TCP_KEEPINTVL);
SAME(cms_tcp_user_timeout, TCP_USER_TIMEOUT);

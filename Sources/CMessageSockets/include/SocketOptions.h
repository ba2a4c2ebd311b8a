// SPDX-License-Identifier: Apache-2.0
// Numbers of socket options that have no control message (ControlMessages.h has the others). They
// are the numbers of x86-64, arm64 and most other architectures. SocketOptions.c asserts each
// against the system's header where that defines it.
#ifndef CMESSAGESOCKETS_SOCKET_OPTIONS_H
#define CMESSAGESOCKETS_SOCKET_OPTIONS_H
#include <stdint.h>

// SOL_SOCKET
enum : int32_t {
  cms_so_reuseaddr = 2,
  cms_so_type = 3,
  cms_so_error = 4,
  cms_so_broadcast = 6,
  cms_so_sndbuf = 7,
  cms_so_rcvbuf = 8,
  cms_so_keepalive = 9,
  cms_so_priority = 12,
  cms_so_linger = 13,
  cms_so_reuseport = 15,
  cms_so_passcred = 16,
  cms_so_peercred = 17,
  cms_so_sndtimeo = 21,
  cms_so_acceptconn = 30,
  cms_so_peersec = 31,
  cms_so_passsec = 34,
  cms_so_timestampns = 35,
  cms_so_timestamping = 37,
  cms_so_protocol = 38,
  cms_so_domain = 39,
  cms_so_peergroups = 59,
  cms_so_rcvmark = 75,
  cms_so_passpidfd = 76,
  cms_so_peerpidfd = 77,
  cms_so_passrights = 83,
  cms_so_inq = 84,
};

// IPPROTO_IP
enum : int32_t {
  cms_ip_recvttl = 12,
  cms_ip_recvtos = 13,
  cms_ip_recvorigdstaddr = 20,
  cms_mcast_join_group = 42,
  cms_mcast_leave_group = 45,
};

// IPPROTO_IPV6
enum : int32_t {
  cms_ipv6_unicast_hops = 16,
  cms_ipv6_v6only = 26,
  cms_ipv6_recvpktinfo = 49,
  cms_ipv6_recvhoplimit = 51,
  cms_ipv6_recvtclass = 66,
  cms_ipv6_recvorigdstaddr = 74,
};

// IPPROTO_TCP
enum : int32_t {
  cms_tcp_nodelay = 1,
  cms_tcp_cork = 3,
  cms_tcp_keepidle = 4,
  cms_tcp_keepintvl = 5,
  cms_tcp_user_timeout = 18,
};

#endif

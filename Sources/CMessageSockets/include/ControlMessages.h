// SPDX-License-Identifier: Apache-2.0
// Control-message arithmetic, and constants that Swift cannot see on Glibc or that Debian 12's
// headers lack.
//
// The numbers are Linux's. Where the system header defines a constant, ControlMessages.c asserts at
// compile time that the two are equal.
#ifndef CMESSAGESOCKETS_CONTROL_MESSAGES_H
#define CMESSAGESOCKETS_CONTROL_MESSAGES_H
#include <stddef.h>
#include <stdint.h>

// CMSG_LEN, CMSG_SPACE and CMSG_ALIGN of this system.
size_t cms_cmsg_len(size_t payload);
size_t cms_cmsg_space(size_t payload);
size_t cms_cmsg_align(size_t length);

// Levels.
enum : int32_t {
  cms_sol_socket = 1,
  cms_ipproto_ip = 0,
  cms_ipproto_ipv6 = 41,
  cms_ipproto_tcp = 6,
  cms_ipproto_udp = 17,
};

// SOL_SOCKET
enum : int32_t {
  cms_scm_rights = 1,
  cms_scm_credentials = 2,
  cms_scm_security = 3,
  cms_scm_pidfd = 4,
  cms_so_timestamp_old = 29,
  cms_so_timestampns_old = 35,
  cms_so_mark = 36,
  cms_so_timestamping_old = 37,
  cms_so_rxq_ovfl = 40,
  cms_so_txtime = 61,
  cms_so_timestamp_new = 63,
  cms_so_timestampns_new = 64,
  cms_so_timestamping_new = 65,
  cms_scm_inq = 84,
};

// IPPROTO_IP
enum : int32_t {
  cms_ip_tos = 1,
  cms_ip_ttl = 2,
  cms_ip_pktinfo = 8,
  cms_ip_recverr = 11,
  cms_ip_origdstaddr = 20,
};

// IPPROTO_IPV6
enum : int32_t {
  cms_ipv6_recverr = 25,
  cms_ipv6_pktinfo = 50,
  cms_ipv6_hoplimit = 52,
  cms_ipv6_tclass = 67,
  cms_ipv6_origdstaddr = 74,
};

// IPPROTO_TCP (TCP_CM_INQ has the number of TCP_INQ)
enum : int32_t {
  cms_tcp_inq = 36,
};

// IPPROTO_UDP
enum : int32_t {
  cms_udp_segment = 103,
  cms_udp_gro = 104,
};

// sock_extended_err.ee_origin: SO_EE_ORIGIN_…
enum : uint8_t {
  cms_ee_origin_none = 0,
  cms_ee_origin_local = 1,
  cms_ee_origin_icmp = 2,
  cms_ee_origin_icmp6 = 3,
  cms_ee_origin_timestamping = 4,
  cms_ee_origin_zerocopy = 5,
  cms_ee_origin_txtime = 6,
};

// SOF_TIMESTAMPING_…
enum : uint32_t {
  cms_timestamping_tx_hardware = 1u << 0,
  cms_timestamping_tx_software = 1u << 1,
  cms_timestamping_tx_sched = 1u << 8,
  cms_timestamping_tx_ack = 1u << 9,
};

#endif

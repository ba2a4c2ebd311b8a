#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A foreign peer for the tests: a service that keeps its listener in the manager's store.

    stored_listener.py PATH

It uses libsystemd. If sd_listen_fds_with_names(3) finds no descriptors, it listens at PATH, stores the
listener with its manager by sd_pid_notify_with_fds(3) under the name "requests", and ends. If it finds
the listener, it accepts one connection, answers one message with its payload and its descriptors, and
ends. The exit status is 0 on success.
"""

import ctypes
import socket
import sys


def listener_from_manager(library, path):
    names = ctypes.POINTER(ctypes.c_char_p)()
    count = library.sd_listen_fds_with_names(1, ctypes.byref(names))
    assert count in (0, 1), f"sd_listen_fds_with_names says {count}"
    if count == 0:
        return None
    assert names[0] == b"requests", names[0]
    kind = library.sd_is_socket_unix(3, socket.SOCK_STREAM, 1, path.encode(), ctypes.c_size_t(0))
    assert kind == 1, f"sd_is_socket_unix says {kind}"
    return socket.socket(fileno=3)


def store(library, path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen()
        numbers = (ctypes.c_int * 1)(listener.fileno())
        result = library.sd_pid_notify_with_fds(
            0, 0, b"FDSTORE=1\nFDNAME=requests", numbers, ctypes.c_uint(1)
        )
        assert result > 0, f"sd_pid_notify_with_fds says {result}"


def answer(listener):
    # The process ends even if the other side does not respond.
    listener.settimeout(30)
    connection, _ = listener.accept()
    connection.settimeout(30)
    with connection:
        payload, descriptors, _, _ = socket.recv_fds(connection, 1024, 253)
        socket.send_fds(connection, [payload], descriptors)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    libsystemd = ctypes.CDLL("libsystemd.so.0")
    stored = listener_from_manager(libsystemd, sys.argv[1])
    if stored is None:
        store(libsystemd, sys.argv[1])
    else:
        answer(stored)

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A foreign peer for the tests: a service that hands open files to its manager with libsystemd, at the socket that NOTIFY_SOCKET names.

    notify_peer.py MESSAGES DESCRIPTORS

Message number M is "FDSTORE=1" and "FDNAME=message-M" by sd_pid_notify_with_fds(3), with DESCRIPTORS files; file number F contains "message M file F". Then
sd_notify_barrier(3), which ends when the manager has read all, and closed the descriptor that came with the last. Exit status 0: all was well.
"""

import ctypes
import sys
import tempfile


def checked(result):
    if result <= 0:
        sys.exit(f"libsystemd says {result}")


def main(messages, descriptors):
    library = ctypes.CDLL("libsystemd.so.0")
    for message in range(messages):
        files = []
        for file in range(descriptors):
            opened = tempfile.TemporaryFile()
            opened.write(f"message {message} file {file}".encode())
            opened.flush()
            files.append(opened)
        numbers = (ctypes.c_int * descriptors)(*[file.fileno() for file in files])
        state = f"FDSTORE=1\nFDNAME=message-{message}".encode()
        checked(library.sd_pid_notify_with_fds(0, 0, state, numbers, ctypes.c_uint(descriptors)))
        # What is on its way stays open without us.
        for file in files:
            file.close()
    checked(library.sd_notify_barrier(0, ctypes.c_uint64(30_000_000)))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(int(sys.argv[1]), int(sys.argv[2]))

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A foreign peer for the tests: a service that stores files with its manager through libsystemd.

    notify_peer.py MESSAGES DESCRIPTORS

It sends messages with sd_pid_notify_with_fds(3) to the socket that NOTIFY_SOCKET names. Message number
M consists of "FDSTORE=1" and "FDNAME=message-M" and carries DESCRIPTORS files. File number F contains
"message M file F". Then it calls sd_notify_barrier(3), which returns when the manager has read all
messages and closed the descriptor of the last one. The exit status is 0 on success.
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
        # Messages in flight keep their own references to the files.
        for file in files:
            file.close()
    checked(library.sd_notify_barrier(0, ctypes.c_uint64(30_000_000)))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(int(sys.argv[1]), int(sys.argv[2]))

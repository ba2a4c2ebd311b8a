#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A foreign peer for the tests: shares memory with Python's own memfd_create and mmap.

    memory_peer.py ADDRESS

It receives a sealed memory file over a seqpacket socket, with the sum of its bytes as the message. It
checks the seals, the sum, and that the file cannot be written. Then it sends three files that are
filled with the byte 5, in this order: sealed memory, unsealed memory and a regular file. It waits
until the other side closes the connection.
"""

import fcntl
import mmap
import os
import socket
import sys
import tempfile

F_ADD_SEALS, F_GET_SEALS = 1033, 1034
SEAL, SHRINK, GROW, WRITE = 1, 2, 4, 8

peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
peer.settimeout(30)
peer.connect(sys.argv[1])

message, (theirs,), _, _ = socket.recv_fds(peer, 100, 1)
assert fcntl.fcntl(theirs, F_GET_SEALS) & 0xF == SEAL | SHRINK | GROW | WRITE
# The mapping is private, because Linux before 6.7 permits no shared mapping of a file that is
# sealed against writing.
with mmap.mmap(theirs, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ) as memory:
    assert sum(memory[:]) == int(message), "the bytes are others"
for attempt in (
    lambda: os.pwrite(theirs, b"x", 0),
    lambda: os.ftruncate(theirs, 0),
    lambda: mmap.mmap(theirs, 0, flags=mmap.MAP_SHARED),
):
    try:
        attempt()
    except PermissionError:
        continue
    raise AssertionError("sealed memory can be changed")

sealed = os.memfd_create("sealed", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
os.ftruncate(sealed, 5000)
with mmap.mmap(sealed, 5000) as memory:
    memory[:] = b"\5" * 5000
fcntl.fcntl(sealed, F_ADD_SEALS, SHRINK | GROW | WRITE)
loose = os.memfd_create("loose", os.MFD_CLOEXEC)
os.write(loose, b"\5" * 5000)
with tempfile.TemporaryFile() as file:
    file.write(b"\5" * 5000)
    file.flush()
    for one in (sealed, loose, file.fileno()):
        socket.send_fds(peer, [b"5000"], [one])
    assert peer.recv(1) == b"", "the other side has answered"

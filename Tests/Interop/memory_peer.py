#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Shares memory with the tests, by Python's own memfd_create and mmap.

    memory_peer.py ADDRESS

Receives a sealed memory file over a seqpacket socket, with its sum as the message; checks the seals, the sum, and
that it cannot write. Then sends three files of the byte 5, in this order: sealed memory, memory that is not sealed,
and a regular file; and waits until the other side hangs up.
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
# Private: Linux before 6.7 has no shared mappings of files that are sealed against writing.
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

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A hostile peer for the tests: sends a file whose file system stops answering once it is open.

    hostile_fuse.py DIRECTORY NAME COUNT

It mounts on DIRECTORY (as root; other users could do so with fusermount), connects to the abstract
seqpacket address NAME, and sends COUNT messages with the file. It reads all later requests without
answering them, so that every process that uses the file system waits. It unmounts and ends when the
connection is closed.
"""

import ctypes
import os
import socket
import struct
import sys
import threading

LOOKUP, GETATTR, OPEN, INIT = 1, 3, 14, 26
MNT_FORCE, MNT_DETACH = 1, 2

directory, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
libc = ctypes.CDLL(None, use_errno=True)
device = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other"
if libc.mount(b"hostile", directory.encode(), b"fuse", 6, options.encode()) != 0:
    sys.exit(f"mount: {os.strerror(ctypes.get_errno())}")
is_answering = True


def attributes(node):
    mode = 0o40755 if node == 1 else 0o100666
    return struct.pack("<6Q10I", node, 0, 0, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def answer(opcode, node):
    """Returns the body of the reply, or None for requests that are not implemented."""
    if opcode == INIT:
        return struct.pack("<4I2HI", 7, 31, 65536, 0, 12, 10, 65536).ljust(64, b"\0")
    if opcode == LOOKUP:
        return struct.pack("<4Q2I", 2, 0, 0, 0, 0, 0) + attributes(2)
    if opcode == GETATTR:
        return struct.pack("<Q2I", 0, 0, 0) + attributes(node)
    if opcode == OPEN:
        return struct.pack("<Q2I", 1, 0, 0)
    return None


def serve():
    while True:
        try:
            request = os.read(device, 1 << 20)
        except OSError:
            return
        _, opcode, unique, node = struct.unpack_from("<2I2Q", request)
        if is_answering:
            body = answer(opcode, node)
            os.write(
                device,
                struct.pack("<IiQ", 16 + len(body or b""), 0 if body else -38, unique)
                + (body or b""),
            )


threading.Thread(target=serve, daemon=True).start()
file = os.open(directory + "/file", os.O_RDWR)
is_answering = False
peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
peer.connect("\0" + name)
for _ in range(count):
    socket.send_fds(peer, [b"file"], [file])
peer.recv(1)
# Unmounting aborts all requests, so that waiting processes continue. This process must not close
# its own copy of the file before.
libc.umount2(directory.encode(), MNT_FORCE)
libc.umount2(directory.encode(), MNT_DETACH)
os._exit(0)

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A foreign peer for the tests: connects as user USER to the abstract stream address NAME.

    other_user.py USER NAME

It sends a byte and waits for an answer. The exit status is 0 if the connection was closed without an
answer, and 1 if the peer received a byte.
"""

import os
import socket
import sys

user, name = int(sys.argv[1]), sys.argv[2]
os.setgroups([7, 8])
os.setgid(user)
os.setuid(user)
peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
peer.connect("\0" + name)
try:
    peer.send(b"x")
    received = peer.recv(1)
except (BrokenPipeError, ConnectionResetError):
    received = b""
os._exit(1 if received else 0)

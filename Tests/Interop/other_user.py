#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A peer of another user for the tests: connects to the abstract stream address NAME as user USER, sends a byte, and says what came back.

    other_user.py USER NAME

Exit status 0: the connection was closed without a byte. 1: something was received.
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

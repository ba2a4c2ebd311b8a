#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A second process for the tests: accepts connections from the listener at descriptor 3.

    second_acceptor.py blocking|nonblocking|leave [THREADS]

It sets or clears O_NONBLOCK, which all processes that have the listener share, or leaves it. It sends
"other" on each connection and closes it. Without threads it only changes the flag. It prints a line
to standard output when it has begun, and ends when descriptor 4 reaches its end.
"""

import os
import socket
import sys
import threading

mode, threads = sys.argv[1], int(sys.argv[2])
listener = socket.socket(fileno=3)
if mode == "leave":
    # Python leaves the flag of an adopted descriptor unchanged.
    pass
else:
    os.set_blocking(3, mode == "blocking")


def accept():
    while True:
        try:
            descriptor, _ = listener._accept()
        except OSError:
            continue
        try:
            os.write(descriptor, b"other")
        except OSError:
            pass
        os.close(descriptor)


for _ in range(threads):
    threading.Thread(target=accept, daemon=True).start()
print("accepting", flush=True)
os.read(4, 1)
os._exit(0)

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A second process that accepts from a listener, which it finds as descriptor 3, until it is told to end.

    second_acceptor.py blocking|nonblocking|leave [THREADS]

What it makes of the listener's O_NONBLOCK is what every process that has it finds. Each connection is told
"other" and closed. Without threads it only sets the flag. A line on the standard output says that it has
begun, and the end of the standard input (descriptor 4) is its end.
"""

import os
import socket
import sys
import threading

mode, threads = sys.argv[1], int(sys.argv[2])
listener = socket.socket(fileno=3)
if mode == "leave":
    # Python makes a descriptor that it adopts neither.
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

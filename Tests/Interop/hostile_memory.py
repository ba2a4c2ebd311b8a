#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A hostile peer for the tests: sends memory files over a Unix seqpacket socket, and truncates, grows
and writes them while the other side uses them.

    hostile_memory.py ADDRESS SECONDS

It continues for SECONDS, and at least until it has sent each kind of file twice. Each message
consists of the kind of the file, a space and a number, and carries one descriptor. `sealed` files
have that number in every byte; the contents of the other kinds are undefined. The other side maps,
copies or refuses the file and answers with a byte. Then the peer truncates the file as far as its
seals permit and reports that in a message, and the other side checks its memory. A second thread
truncates, grows and writes the files all the time. The exit status is 0 if the peer was not stopped.
"""

import fcntl
import mmap
import os
import random
import socket
import sys
import threading
import time

F_ADD_SEALS, SHRINK, GROW, WRITE, FUTURE_WRITE = 1033, 2, 4, 8, 16
SIZE = 64 << 10

lock = threading.Lock()
victims = []
stop = threading.Event()


def memory(size, byte=0):
    file = os.memfd_create("hostile", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(file, size)
    if byte:
        os.pwrite(file, bytes([byte]) * size, 0)
    return file


def seal(file, seals):
    fcntl.fcntl(file, F_ADD_SEALS, seals)
    return file


def made(kind, number):
    if kind == "sealed":
        return seal(memory(SIZE, number), SHRINK | GROW | WRITE)
    if kind == "holes":
        return seal(memory(1 << 40), SHRINK | GROW | WRITE)
    if kind == "future":
        file = memory(SIZE)
        written = mmap.mmap(file, SIZE)
        seal(file, SHRINK | FUTURE_WRITE)
        written[:] = bytes([number]) * SIZE
        return file
    if kind == "shrinkable":
        return seal(memory(SIZE), WRITE)
    if kind == "writable":
        return seal(memory(SIZE), SHRINK)
    if kind == "empty":
        return seal(memory(0), SHRINK | GROW | WRITE)
    if kind == "pipe":
        reader, writer = os.pipe()
        os.close(writer)
        return reader
    return memory(SIZE)


def abuse(file, size):
    """Changes a file as far as its seals permit, and leaves it truncated if possible."""
    for act in (
        lambda: os.ftruncate(file, 0),
        lambda: os.ftruncate(file, size),
        lambda: os.pwrite(file, b"x" * size, 0),
        lambda: os.ftruncate(file, 2 * SIZE),
        lambda: os.ftruncate(file, 0),
    ):
        try:
            act()
        except OSError:
            pass


def torment():
    """Changes files while the other side checks and copies them."""
    choice = random.Random()
    while not stop.is_set():
        with lock:
            file = os.dup(victims[-1]) if victims else None
        if file is None:
            time.sleep(0.0005)
            continue
        abuse(file, choice.randrange(1, SIZE))
        try:
            os.ftruncate(file, SIZE)
        except OSError:
            pass
        if choice.random() < 0.001:
            try:
                seal(file, choice.choice([SHRINK, GROW, WRITE]))
            except OSError:  # The file is sealed or mapped for writing, or memory is exhausted.
                pass
        os.close(file)
        time.sleep(0)


def main(address, seconds):
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    peer.settimeout(30)
    peer.connect(address)
    tormentor = threading.Thread(target=torment)
    tormentor.start()
    kinds = ["sealed", "loose", "future", "shrinkable", "writable", "holes", "empty", "pipe"]
    end = time.monotonic() + seconds
    number = 0
    while time.monotonic() < end or number < 2 * len(kinds):
        kind = kinds[number // 2 % len(kinds)]
        file = made(kind, number % 255 + 1)
        with lock:
            victims.append(file)
        socket.send_fds(peer, [f"{kind} {number % 255 + 1}".encode()], [file])
        # The other side has mapped, copied or refused the file. It checks it at the next message.
        assert peer.recv(1), "the other side has gone"
        if number % 2:
            with lock:
                victims.pop()
            abuse(file, SIZE)
            peer.send(b"cut")
        else:
            peer.send(b"cut")
            with lock:
                victims.pop()
        os.close(file)
        number += 1
    assert tormentor.is_alive(), "nothing has raced with the checks"
    stop.set()
    tormentor.join()
    peer.close()


main(sys.argv[1], float(sys.argv[2]))

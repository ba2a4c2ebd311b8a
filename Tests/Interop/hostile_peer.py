#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A hostile peer for the tests: connects over a Unix socket and breaks the protocol.

    hostile_peer.py flood ADDRESS MESSAGES DESCRIPTORS
        sends seqpacket messages with DESCRIPTORS pipes each, as fast as the socket accepts them
    hostile_peer.py fifos ADDRESS
        sends a seqpacket message with 253 ends of FIFOs that have no reader or no writer
    hostile_peer.py half ADDRESS
        sends the first half of a frame with two descriptors, then waits until the other side closes
    hostile_peer.py deaf ADDRESS CONNECTIONS
        opens stream connections and never reads, until the other side closes all of them
    hostile_peer.py cut ADDRESS LENGTH
        sends a frame of LENGTH bytes with two descriptors, cut at each byte, on a connection for each

A frame is one byte, its length, and the bytes 1, 2, 3 …. The exit status is 0 if the peer was not
stopped before it was done.
"""

import os
import select
import socket
import sys
import tempfile


def connect(address, kind=socket.SOCK_STREAM):
    peer = socket.socket(socket.AF_UNIX, kind)
    # The process ends even if the other side does not respond.
    peer.settimeout(30)
    peer.connect(address)
    return peer


def flood(address, messages, descriptors):
    with connect(address, socket.SOCK_SEQPACKET) as peer:
        reader, writer = os.pipe()
        for message in range(int(messages)):
            socket.send_fds(peer, [message.to_bytes(4, "little")], [writer] * int(descriptors))


def fifos(address):
    with connect(
        address, socket.SOCK_SEQPACKET
    ) as peer, tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "fifo")
        os.mkfifo(path)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        writer = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        both = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        socket.send_fds(peer, [b"fifos"], [reader, writer, both] * 84 + [reader])


def frame(length):
    return bytes([length - 1] + list(range(1, length)))


def half(address):
    with connect(address) as peer:
        socket.send_fds(peer, [frame(20)[:10]], [0, 0])
        assert peer.recv(1) == b"", "the other side has answered to half a frame"


def deaf(address, connections):
    peers = [connect(address) for _ in range(int(connections))]
    for peer in peers:
        # POLLHUP reports that the other side has closed, without reading.
        poll = select.poll()
        poll.register(peer, 0)
        assert poll.poll(30000), "the other side does not hang up"


def cut(address, length):
    whole = frame(int(length))
    for count in range(len(whole) + 1):
        with connect(address) as peer:
            if count > 0:
                socket.send_fds(peer, [whole[:1]], [0, 0])
            for byte in whole[1:count]:
                peer.send(bytes([byte]))
            # Wait for the greeting. Every other connection leaves it unread, which resets the
            # connection when it is closed.
            peer.recv(1, socket.MSG_PEEK if count % 2 else 0)


if __name__ == "__main__":
    ways = {way.__name__: way for way in (flood, fifos, half, deaf, cut)}
    if len(sys.argv) < 3 or sys.argv[1] not in ways:
        sys.exit(__doc__)
    ways[sys.argv[1]](*sys.argv[2:])

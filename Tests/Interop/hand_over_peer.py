#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A foreign peer for the tests: implements the hand-over protocol from Docs/Wire.md alone.

    hand_over_peer.py relay CONTROL       takes over from the process at CONTROL, serves its listener
                                          "web", and hands over to the next process
    hand_over_peer.py hold CONTROL        takes the descriptors of the process at CONTROL, then reads
                                          nothing for a minute
    hand_over_peer.py lie USER NAME       listens at the abstract address NAME ("@name") as another
                                          user, and makes an offer
    hand_over_peer.py intrude USER NAME   tries to take over from the process at the abstract address
                                          NAME as another user

The exit status is 0 on success.
"""

import array
import os
import select
import socket
import struct
import sys
import time

HELLO, OFFER, BATCH, RECEIVED, STATE, READY, GO, SERVING, DRAINED, REFUSAL = (
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    9,
    15,
)
MAXIMUM = 32768


def say(text):
    print(text, flush=True)


def receive(peer, wanted):
    """Receives a message, which must have one of the types. Returns it with its descriptors."""
    payload, control, _, _ = peer.recvmsg(
        65536, socket.CMSG_SPACE(253 * 4), socket.MSG_CMSG_CLOEXEC
    )
    numbers = array.array("i")
    for level, kind, data in control:
        assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
        numbers.frombytes(data)
    assert payload, "the other side has ended"
    assert payload[0] in wanted, f"message {payload[0]} instead of {wanted}: {payload[:64]}"
    return payload[0], payload[1:], list(numbers)


def entries(body):
    """Returns the position of a batch's first entry, and the names and files of all entries."""
    first, count = struct.unpack_from("<IH", body)
    at, found = 6, []
    for _ in range(count):
        flags, length = body[at], body[at + 1]
        name = body[at + 2 : at + 2 + length].decode("ascii")
        at += 2 + length
        file = None
        if flags & 1:
            file = struct.unpack_from("<QQ", body, at)
            at += 16
        found.append((name, file))
    assert at == len(body)
    return first, found


def take_over(path):
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    peer.settimeout(30)
    peer.connect(path)
    peer.send(struct.pack("<B4sHI", HELLO, b"MSHO", 1, 0))
    _, body, _ = receive(peer, {OFFER})
    version, count, length = struct.unpack("<HIQ", body)
    assert version == 1
    taken, state = [], b""
    while len(taken) < count or len(state) < length:
        kind, body, numbers = receive(peer, {BATCH, STATE})
        if kind == STATE:
            state += body
            continue
        first, found = entries(body)
        assert first == len(taken) and len(found) == len(numbers)
        taken += [(name, file, number) for (name, file), number in zip(found, numbers)]
        peer.send(struct.pack("<BI", RECEIVED, len(taken)))
    assert taken[0][0] == ""
    say(f"taken over: {len(taken)} descriptors, {len(state)} bytes")
    return peer, taken, state


def hold(path):
    """Takes all descriptors and reads none of the messages after them."""
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    peer.settimeout(30)
    peer.connect(path)
    peer.send(struct.pack("<B4sHI", HELLO, b"MSHO", 1, 0))
    _, count, _ = struct.unpack("<HIQ", receive(peer, {OFFER})[1])
    taken = 0
    while taken < count:
        taken += len(receive(peer, {BATCH})[2])
        peer.send(struct.pack("<BI", RECEIVED, taken))
    say(f"holding {taken} descriptors")
    time.sleep(60)


def hand_over(successor, taken, state):
    """Hands over to a successor. Returns whether the successor serves."""
    _, body, _ = receive(successor, {HELLO})
    assert body[:4] == b"MSHO" and struct.unpack("<HI", body[4:]) == (1, 0)
    successor.send(struct.pack("<BHIQ", OFFER, 1, len(taken), len(state)))
    sent = 0
    # The control listener is sent first, in a batch of its own.
    for end in [1] + list(range(1 + 253, len(taken), 253)) + [len(taken)]:
        batch = taken[sent:end]
        body = struct.pack("<BIH", BATCH, sent, len(batch))
        for name, file, _ in batch:
            body += struct.pack("<BB", 1 if file else 0, len(name)) + name.encode("ascii")
            body += struct.pack("<QQ", *file) if file else b""
        socket.send_fds(successor, [body], [number for _, _, number in batch])
        sent = end
        assert struct.unpack("<I", receive(successor, {RECEIVED})[1]) == (sent,)
    for at in range(0, len(state), MAXIMUM - 1):
        successor.send(bytes([STATE]) + state[at : at + MAXIMUM - 1])
    receive(successor, {READY})
    successor.send(bytes([GO]))
    receive(successor, {SERVING})


def answer(listener):
    connection, _ = listener.accept()
    connection.settimeout(30)
    with connection, connection.makefile("rwb") as lines:
        lines.write(b"%d %s" % (os.getpid(), lines.readline()))


def relay(path):
    predecessor, taken, state = take_over(path)
    predecessor.send(bytes([READY]))
    receive(predecessor, {GO})
    listeners = {
        name: socket.socket(fileno=number) for name, _, number in taken if name in ("", "web")
    }
    control, web = listeners[""], listeners["web"]
    # Another process may accept the connection first. The accept must then not wait for the next.
    web.settimeout(0.1)
    predecessor.send(bytes([SERVING]))
    say("serving")
    waiting = {web, control, predecessor}
    while True:
        ready, _, _ = select.select(waiting, [], [], 60)
        assert ready, "nothing has happened for a minute"
        if predecessor in ready:
            receive(predecessor, {DRAINED})
            say("predecessor drained")
            waiting.remove(predecessor)
        if web in ready:
            try:
                answer(web)
            except TimeoutError:
                pass
        if control in ready:
            successor, _ = control.accept()
            successor.settimeout(30)
            hand_over(successor, taken, state)
            successor.send(bytes([DRAINED]))
            say("handed over")
            return


def become(user):
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)


def intrude(user, name):
    become(user)
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    peer.settimeout(30)
    peer.connect("\0" + name[1:])
    try:
        peer.send(struct.pack("<B4sHI", HELLO, b"MSHO", 1, 0))
        assert not peer.recv(MAXIMUM), "it got an answer"
    except (BrokenPipeError, ConnectionResetError):
        pass
    say("refused")


def lie(user, name):
    become(user)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind("\0" + name[1:])
    listener.listen()
    say("listening")
    peer, _ = listener.accept()
    peer.settimeout(30)
    receive(peer, {HELLO})
    peer.send(struct.pack("<BHIQ", OFFER, 1, 1, 0))
    # The predecessor refuses, and sends nothing else.
    assert receive(peer, {REFUSAL})


if __name__ == "__main__":
    if sys.argv[1:2] == ["relay"] and len(sys.argv) == 3:
        relay(sys.argv[2])
    elif sys.argv[1:2] == ["hold"] and len(sys.argv) == 3:
        hold(sys.argv[2])
    elif sys.argv[1:2] == ["lie"] and len(sys.argv) == 4:
        lie(int(sys.argv[2]), sys.argv[3])
    elif sys.argv[1:2] == ["intrude"] and len(sys.argv) == 4:
        intrude(int(sys.argv[2]), sys.argv[3])
    else:
        sys.exit(__doc__)

#!/usr/bin/env python3
"""A foreign peer for the tests: passes open files over a Unix socket with what Python's own socket module offers.

    fd_peer.py KIND send ADDRESS MESSAGES DESCRIPTORS
    fd_peer.py KIND receive ADDRESS MESSAGES DESCRIPTORS

KIND is stream or seqpacket; ADDRESS a path, or @NAME for an abstract address. Message number M carries the payload "message M" and
DESCRIPTORS files; file number F of it contains "message M file F" and a line end.

The sender ends its direction and waits for the verdict of the other side: "ok". The receiver answers "ok", or what was wrong.
Exit status 0: all was well.
"""
import os
import socket
import sys
import tempfile

KINDS = {"stream": socket.SOCK_STREAM, "seqpacket": socket.SOCK_SEQPACKET}


def contents(message, file):
    return f"message {message} file {file}\n".encode()


def make_file(message, file):
    opened = tempfile.TemporaryFile()
    opened.write(contents(message, file))
    opened.flush()
    return opened


def send(peer, messages, descriptors):
    for message in range(messages):
        files = [make_file(message, file) for file in range(descriptors)]
        socket.send_fds(peer, [f"message {message}".encode()], [file.fileno() for file in files])
        # What is on its way stays open without us.
        for file in files:
            file.close()
    peer.shutdown(socket.SHUT_WR)
    verdict = peer.recv(1024)
    assert verdict == b"ok", f"the verdict is {verdict!r}"


def receive(peer, messages, descriptors):
    try:
        for message in range(messages):
            check(message, descriptors, *socket.recv_fds(peer, 1024, 253))
    except Exception as error:
        peer.send(str(error).encode())
        raise
    peer.send(b"ok")


def check(message, descriptors, payload, received, flags, _):
    try:
        assert payload == f"message {message}".encode(), f"the payload is {payload!r}"
        assert not flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC), f"truncated: flags {flags:#x}"
        assert len(received) == descriptors, f"{len(received)} descriptors instead of {descriptors}"
        for file, descriptor in enumerate(received):
            assert os.pread(descriptor, 1024, 0) == contents(message, file), f"descriptor {file} leads elsewhere"
    finally:
        for descriptor in received:
            os.close(descriptor)


def main(kind, direction, address, messages, descriptors):
    with socket.socket(socket.AF_UNIX, KINDS[kind]) as peer:
        # Ends by itself, whatever the other side does.
        peer.settimeout(30)
        peer.connect("\0" + address[1:] if address.startswith("@") else address)
        {"send": send, "receive": receive}[direction](peer, int(messages), int(descriptors))


if __name__ == "__main__":
    if len(sys.argv) != 6:
        sys.exit(__doc__)
    main(*sys.argv[1:])

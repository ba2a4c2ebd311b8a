#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A foreign peer for the tests: passes open files over a Unix socket with Python and its libraries.

    fd_peer.py WAY KIND send ADDRESS MESSAGES DESCRIPTORS
    fd_peer.py WAY KIND receive ADDRESS MESSAGES DESCRIPTORS

WAY selects the functions:
    socket          socket.send_fds and recv_fds
    multiprocessing send_handle and recv_handle of multiprocessing.reduction: one descriptor a message
    glib            send_fd and receive_fd of GLib's GUnixConnection (needs PyGObject): one descriptor
                    a message
KIND is stream or seqpacket. ADDRESS is a path, or @NAME in the abstract namespace. Each message
carries DESCRIPTORS files. File number F of message number M contains "message M file F" and a line
end. The payload is "message M" with `socket`, and otherwise the one byte that the library sends.

The sender shuts down its direction and waits for the verdict of the other side: "ok" and each file as
DEVICE:INODE, which must be the sender's, in order. The receiver answers with that, or with a
description of the error. The exit status is 0 on success.
"""

import os
import signal
import socket
import sys
import tempfile

KINDS = {"stream": socket.SOCK_STREAM, "seqpacket": socket.SOCK_SEQPACKET}


class Plain:
    def __init__(self, peer):
        self.peer = peer

    def send(self, message, descriptors):
        socket.send_fds(self.peer, [f"message {message}".encode()], descriptors)

    def receive(self, message):
        payload, received, flags, _ = socket.recv_fds(self.peer, 1024, 253)
        if payload != f"message {message}".encode() or flags & (
            socket.MSG_TRUNC | socket.MSG_CTRUNC
        ):
            close_all(received)
            raise ValueError(f"the payload is {payload!r}, the flags are {flags:#x}")
        return received


class Multiprocessing:
    def __init__(self, peer):
        from multiprocessing import reduction

        self.peer, self.reduction = peer, reduction
        # recv_handle reads from a duplicate of the descriptor, which must be blocking: with a
        # timeout it would raise BlockingIOError. The alarm ends the process instead.
        peer.settimeout(None)
        signal.alarm(30)

    def send(self, _, descriptors):
        for descriptor in descriptors:
            self.reduction.send_handle(self.peer, descriptor, None)

    def receive(self, _):
        return [self.reduction.recv_handle(self.peer)]


class GLib:
    def __init__(self, peer):
        import gi

        gi.require_version("Gio", "2.0")
        from gi.repository import Gio

        copy = Gio.Socket.new_from_fd(os.dup(peer.fileno()))
        copy.set_timeout(30)
        self.connection = copy.connection_factory_create_connection()

    def send(self, _, descriptors):
        for descriptor in descriptors:
            self.connection.send_fd(descriptor)

    def receive(self, _):
        return [self.connection.receive_fd()]


WAYS = {"socket": Plain, "multiprocessing": Multiprocessing, "glib": GLib}


def close_all(descriptors):
    for descriptor in descriptors:
        os.close(descriptor)


def contents(message, file):
    return f"message {message} file {file}\n".encode()


def make_file(message, file):
    opened = tempfile.TemporaryFile()
    opened.write(contents(message, file))
    opened.flush()
    return opened


def identity(descriptor):
    status = os.fstat(descriptor)
    return f"{status.st_dev}:{status.st_ino}"


def send(way, peer, messages, descriptors):
    identities = []
    for message in range(messages):
        files = [make_file(message, file) for file in range(descriptors)]
        identities += [identity(file.fileno()) for file in files]
        way.send(message, [file.fileno() for file in files])
        # Messages in flight keep their own references to the files.
        for file in files:
            file.close()
    peer.shutdown(socket.SHUT_WR)
    verdict = peer.recv(65536).decode()
    assert verdict.split() == ["ok"] + identities, f"the verdict is {verdict!r}"


def receive(way, peer, messages, descriptors):
    identities = []
    try:
        for message in range(messages):
            identities += check(message, descriptors, way.receive(message))
    except Exception as error:
        peer.send(str(error).encode())
        raise
    peer.send(" ".join(["ok"] + identities).encode())


def check(message, descriptors, received):
    try:
        assert len(received) == descriptors, f"{len(received)} descriptors instead of {descriptors}"
        for file, descriptor in enumerate(received):
            assert os.pread(descriptor, 1024, 0) == contents(
                message, file
            ), f"descriptor {file} leads elsewhere"
        return [identity(descriptor) for descriptor in received]
    finally:
        close_all(received)


def main(way, kind, direction, address, messages, descriptors):
    with socket.socket(socket.AF_UNIX, KINDS[kind]) as peer:
        # The process ends even if the other side does not respond.
        peer.settimeout(30)
        peer.connect("\0" + address[1:] if address.startswith("@") else address)
        {"send": send, "receive": receive}[direction](
            WAYS[way](peer), peer, int(messages), int(descriptors)
        )


if __name__ == "__main__":
    if len(sys.argv) != 7:
        sys.exit(__doc__)
    main(*sys.argv[1:])

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A foreign peer for the tests: calls test.MessageSockets over a message bus with GLib's D-Bus.

    bus_peer.py ADDRESS DESCRIPTORS

It passes DESCRIPTORS files to the method Read(ah) twice and expects their contents (as) in return. It
calls Make(u) twice for as many files (ah), which must contain "file 0", "file 1" and so on. The exit
status is 0 on success.
"""

import os
import sys
import tempfile

import gi

gi.require_version("Gio", "2.0")
from gi.repository import Gio, GLib

TIMEOUT = 30000


def call(connection, method, parameters, reply, files):
    return connection.call_with_unix_fd_list_sync(
        "test.MessageSockets",
        "/",
        "test.MessageSockets",
        method,
        parameters,
        GLib.VariantType(reply),
        Gio.DBusCallFlags.NONE,
        TIMEOUT,
        files,
        None,
    )


def read(connection, count):
    files = Gio.UnixFDList()
    texts = [f"round text {number} of {os.getpid()}" for number in range(count)]
    for text in texts:
        with tempfile.TemporaryFile() as opened:
            opened.write(text.encode())
            opened.flush()
            # The list keeps a duplicate of the descriptor.
            files.append(opened.fileno())
    answer, _ = call(connection, "Read", GLib.Variant("(ah)", (list(range(count)),)), "(as)", files)
    assert answer.unpack()[0] == texts, answer


def make(connection, count):
    answer, files = call(connection, "Make", GLib.Variant("(u)", (count,)), "(ah)", None)
    handles = answer.unpack()[0]
    assert len(handles) == count == files.get_length(), answer
    for number, handle in enumerate(handles):
        descriptor = files.get(handle)
        text = os.pread(descriptor, 1024, 0)
        os.close(descriptor)
        assert text == f"file {number}".encode(), text


def main(address, count):
    flags = (
        Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT
        | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION
    )
    connection = Gio.DBusConnection.new_for_address_sync(address, flags, None, None)
    assert (
        connection.get_capabilities() & Gio.DBusCapabilityFlags.UNIX_FD_PASSING
    ), "the bus passes no descriptors"
    for _ in range(2):
        read(connection, count)
        make(connection, count)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], int(sys.argv[2]))

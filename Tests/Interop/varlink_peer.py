# SPDX-License-Identifier: Apache-2.0
"""A foreign peer for the tests: a Varlink service and client made with asyncvarlink.

varlink_peer.py serve SOCKET      a service on a connected socket (a descriptor's number)
varlink_peer.py client PATH       calls com.example.Test there
varlink_peer.py broker PATH FILE  fetches a file from the fd-broker example, and prints it
"""

import array
import asyncio
import collections.abc
import json
import os
import socket
import struct
import sys

from asyncvarlink import (
    FileDescriptor,
    TypedVarlinkErrorReply,
    VarlinkClientProtocol,
    VarlinkInterface,
    VarlinkInterfaceRegistry,
    VarlinkTransport,
    connect_unix_varlink,
    varlinkmethod,
)
from asyncvarlink.error import GenericVarlinkErrorReply


def numbered_file(number):
    """Returns a file that contains its number in eight bytes."""
    file = os.memfd_create("numbered", os.MFD_CLOEXEC)
    os.pwrite(file, struct.pack("q", number), 0)
    return file


def number_of(file):
    return struct.unpack("q", os.pread(file.fileno(), 8, 0))[0]


class Peer(VarlinkInterface, name="com.example.Peer"):
    class TooLarge(TypedVarlinkErrorReply, interface="com.example.Peer"):
        class Parameters:
            number: int

    @varlinkmethod(return_parameter="number")
    def Add(self, *, number: int) -> int:
        return number + 1

    @varlinkmethod(return_parameter="file")
    def Open(self, *, number: int) -> FileDescriptor:
        return FileDescriptor(numbered_file(number), should_close=True)

    @varlinkmethod(return_parameter="number")
    def Read(self, *, file: FileDescriptor) -> int:
        return number_of(file)

    @varlinkmethod(return_parameter="number")
    def Count(self, *, number: int) -> collections.abc.Iterator[int]:
        return iter(range(number + 1))

    @varlinkmethod
    def Fail(self, *, number: int) -> None:
        raise Peer.TooLarge(number=number)


class Test(VarlinkInterface, name="com.example.Test"):
    @varlinkmethod(return_parameter="number")
    def Add(self, *, number: int) -> int: ...

    @varlinkmethod(return_parameter="file")
    def Open(self, *, number: int) -> FileDescriptor: ...

    @varlinkmethod(return_parameter="number")
    def Read(self, *, file: FileDescriptor) -> int: ...

    @varlinkmethod(return_parameter="number")
    def Count(self, *, number: int) -> collections.abc.Iterator[int]: ...

    @varlinkmethod
    def Fail(self, *, number: int) -> None: ...


class Broker(VarlinkInterface, name="com.example.Broker"):
    @varlinkmethod(return_parameter="file")
    def Open(self, *, path: str) -> FileDescriptor: ...


async def serve(number):
    registry = VarlinkInterfaceRegistry()
    registry.register_interface(Peer())
    ended = asyncio.get_running_loop().create_future()
    protocol = registry.protocol_factory()
    lost = protocol.connection_lost

    def connection_lost(error):
        lost(error)
        ended.done() or ended.set_result(None)

    protocol.connection_lost = connection_lost
    connection = socket.socket(fileno=number)
    connection.setblocking(False)
    transport = VarlinkTransport(asyncio.get_running_loop(), connection, connection, protocol)
    await ended


async def client(path):
    transport, protocol = await connect_unix_varlink(VarlinkClientProtocol, path)
    test = protocol.make_proxy(Test)
    assert value(await test.Add(number=41), "number") == 42
    try:
        await test.Fail(number=9)
        raise AssertionError("no error")
    except GenericVarlinkErrorReply as error:
        assert error.name == "com.example.Test.TooLarge" and error.paramstojson() == {
            "number": 9
        }, error
    with await test.Open(number=7) as reply:
        assert number_of(value(reply, "file")) == 7
    with FileDescriptor(numbered_file(8), should_close=True) as file:
        assert value(await test.Read(file=file), "number") == 8
    numbers = [value(reply, "number") async for reply in test.Count(number=20)]
    assert numbers == list(range(21)), numbers
    transport.close()


def value(reply, name):
    return reply[name] if isinstance(reply, dict) else reply


def pipelined(path):
    """Calls A, then B with a descriptor, then C, all sent before the first reply is read."""

    def call(method, **parameters):
        return (
            json.dumps({"method": f"com.example.Test.{method}", "parameters": parameters}).encode()
            + b"\0"
        )

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(path)
        connection.sendall(call("Add", number=1))
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [numbered_file(5)]))]
        connection.sendmsg([call("Read", file=0)], rights)
        connection.sendall(call("Add", number=2))
        received = b""
        while received.count(b"\0") < 3:
            received += connection.recv(4096)
        numbers = [
            json.loads(reply)["parameters"]["number"] for reply in received.split(b"\0") if reply
        ]
        assert numbers == [2, 5, 3], numbers


async def broker(path, name):
    transport, protocol = await connect_unix_varlink(VarlinkClientProtocol, path)
    with await protocol.make_proxy(Broker).Open(path=name) as reply:
        sys.stdout.buffer.write(os.pread(value(reply, "file").fileno(), 1 << 20, 0))
    transport.close()


if sys.argv[1] == "serve":
    asyncio.run(serve(int(sys.argv[2])))
elif sys.argv[1] == "client":
    asyncio.run(client(sys.argv[2]))
    pipelined(sys.argv[2])
elif sys.argv[1] == "broker":
    asyncio.run(broker(sys.argv[2], sys.argv[3]))

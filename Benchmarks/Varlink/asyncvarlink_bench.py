# SPDX-License-Identifier: Apache-2.0
"""Makes the call of varlink-bench with asyncvarlink, with service and client on one event loop."""

import asyncio
import os
import socket
import sys
import time
import typing

from asyncvarlink import (
    FileDescriptor,
    VarlinkClientProtocol,
    VarlinkInterface,
    VarlinkInterfaceRegistry,
    VarlinkTransport,
    varlinkmethod,
)

TEXT = "a" * 1024


class Answer(typing.TypedDict):
    file: FileDescriptor
    text: str


class Bench(VarlinkInterface, name="com.example.Bench"):
    @varlinkmethod
    def Open(self, *, path: str) -> Answer:
        return Answer(
            file=FileDescriptor(
                os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC), should_close=True
            ),
            text=TEXT,
        )


async def main(calls):
    registry = VarlinkInterfaceRegistry()
    registry.register_interface(Bench())
    loop = asyncio.get_running_loop()
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    near.setblocking(False)
    far.setblocking(False)
    service = VarlinkTransport(loop, far, far, registry.protocol_factory())
    protocol = VarlinkClientProtocol()
    transport = VarlinkTransport(loop, near, near, protocol)
    # The ends are connected one turn of the event loop later.
    await asyncio.sleep(0)
    proxy = protocol.make_proxy(Bench)
    fastest = float("inf")
    for _ in range(3):
        start = time.process_time_ns()
        for _ in range(calls):
            with await proxy.Open(path="notes.txt"):
                pass
        fastest = min(fastest, (time.process_time_ns() - start) / calls)
    print(f"  asyncvarlink           {int(fastest)}")
    transport.close()
    service.close()


asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000))

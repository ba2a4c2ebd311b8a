# SPDX-License-Identifier: Apache-2.0
import array
import asyncio
import os
import socket


def pass_listener(peer, listener):
    socket.send_fds(peer, [b"L"], [listener.fileno()])


async def readable(peer):
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(peer, lambda: ready.done() or ready.set_result(None))
    try:
        await ready
    finally:
        loop.remove_reader(peer)


async def receive(peer):
    """The call that takes the message comes after the last await: a thread, as asyncio.to_thread
    has it, would take it for a task that is gone."""
    while True:
        await readable(peer)
        try:
            # Not recv_fds, which drops its flags in Python 3.11.
            data, control, flags, _ = peer.recvmsg(
                1, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            continue
        if not data:
            raise EOFError
        numbers = array.array("i")
        for level, kind, rights in control:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                numbers.frombytes(rights[: len(rights) // 4 * 4])
        if len(numbers) == 1 and not flags & socket.MSG_CTRUNC:
            return socket.socket(fileno=numbers[0])
        for number in numbers:
            os.close(number)
        raise ValueError("not one descriptor")


async def serve(peer):
    async with asyncio.timeout(5):
        with await receive(peer) as listener:
            listener.setblocking(False)
            loop = asyncio.get_running_loop()
            client, _ = await loop.sock_accept(listener)
            with client:
                await loop.sock_sendall(client, b"hello\n")

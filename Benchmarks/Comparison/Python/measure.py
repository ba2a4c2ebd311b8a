# SPDX-License-Identifier: Apache-2.0
"""What the comparison measures of handover.py. See ../README.md."""

import asyncio
import fcntl
import json
import os
import socket
import sys
import time

from handover import pass_listener, receive, serve


def open_descriptors():
    return len(os.listdir("/proc/self/fd"))


def take(peer):
    """What a program does at first."""
    _, numbers, _, _ = socket.recv_fds(peer, 1, 1)
    return numbers[0] if numbers else None


async def receive_plainly(peer):
    return await asyncio.to_thread(take, peer)


async def cancel_rounds(count, plain):
    listener = socket.create_server(("127.0.0.1", 0))
    totals = {"received": 0, "left": 0, "lost": 0}

    async def run(i):
        client, service = socket.socketpair()
        service.setblocking(plain)
        task = asyncio.create_task(receive_plainly(service) if plain else receive(service))
        await asyncio.sleep(0.00002)
        pass_listener(client, listener)
        limit = time.perf_counter_ns() + i * 7919 % 100000
        while time.perf_counter_ns() < limit:
            await asyncio.sleep(0)
        task.cancel()
        try:
            result = await task
        except asyncio.CancelledError:
            service.setblocking(False)
            try:
                pending = take(service)
            except BlockingIOError:
                pending = None
            totals["lost" if pending is None else "left"] += 1
            if pending is not None:
                os.close(pending)
        else:
            totals["received"] += 1
            os.close(result) if plain else result.close()
        client.close()
        service.close()

    # The first round starts what asyncio needs.
    await run(0)
    totals = dict.fromkeys(totals, 0)
    before = open_descriptors()
    for i in range(count):
        await run(i)
    if plain:
        # The threads that were given up have ended then.
        await asyncio.get_running_loop().shutdown_default_executor()
    return totals | {"leaked": open_descriptors() - before}


def is_close_on_exec(number):
    return fcntl.fcntl(number, fcntl.F_GETFD) & fcntl.FD_CLOEXEC


async def control(peer):
    before = open_descriptors()
    careful = await receive(peer)
    await asyncio.sleep(0.1)
    plain = take(peer)
    result = {
        "cloexec": is_close_on_exec(careful.fileno()),
        "plain_cloexec": is_close_on_exec(plain),
    }
    careful.close()
    os.close(plain)
    try:
        (await receive(peer)).close()
        result["three"] = "received"
    except ValueError as error:
        result["three"] = str(error)
    result["leaked"] = open_descriptors() - before
    os.close(take(peer))
    return result | {"plain_leaked": open_descriptors() - before - result["leaked"]}


async def serve_all(peer):
    while True:
        try:
            await serve(peer)
        except EOFError:
            return


def main():
    mode, *rest = sys.argv[1:] or ["serve"]
    if mode in ("cancel", "plain"):
        print(json.dumps(asyncio.run(cancel_rounds(int(rest[0]), mode == "plain"))))
        return
    peer = socket.socket(fileno=3)
    peer.setblocking(False)
    if mode == "control":
        print(json.dumps(asyncio.run(control(peer))))
    else:
        asyncio.run(serve_all(peer))


main()

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests the articles' units under a real systemd, which runs this script as a service: see run."""
import fcntl
import os
import signal
import socket
import struct
import subprocess
import threading
import time


def systemctl(*arguments):
    return subprocess.run(["systemctl", *arguments], check=True, text=True, stdout=subprocess.PIPE).stdout


def shown(unit, name):
    return systemctl("show", "--value", "--property", name, unit).strip()


def until(what, condition, limit=30):
    end = time.monotonic() + limit
    while not (found := condition()):
        assert time.monotonic() < end, what
        time.sleep(0.02)
    return found


def connect(port):
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def ask(connection, question):
    """Asks a question on a connection that stays open. Returns the id of the answering process."""
    connection.sendall(question + b"\n")
    answer = b""
    while not answer.endswith(b"\n"):
        piece = connection.recv(1000)
        assert piece, f"the connection has ended: {answer}"
        answer += piece
    process, text = answer.split(maxsplit=1)
    assert text == question + b"\n", f"{answer} to {question}"
    return int(process)


class Load:
    """Clients that repeatedly connect, ask and read the answer to its end."""

    def __init__(self, port, clients=4):
        self.port, self.answered, self.refused, self.lost, self.wrong = port, 0, 0, 0, 0
        self.processes, self.lock, self.ends = set(), threading.Lock(), threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(n,), daemon=True) for n in range(clients)]
        for thread in self.threads:
            thread.start()

    def run(self, client):
        number = 0
        while not self.ends.is_set():
            number += 1
            question, answer = b"%d-%d" % (client, number), b""
            try:
                with connect(self.port) as connection:
                    connection.sendall(question + b"\n")
                    while piece := connection.recv(1000):
                        answer += piece
            except ConnectionRefusedError:
                with self.lock:
                    self.refused += 1
                continue
            except OSError:
                answer = b""
            words = answer.split()
            with self.lock:
                if not words:
                    self.lost += 1
                elif len(words) == 2 and words[1] == question:
                    self.answered += 1
                    self.processes.add(int(words[0]))
                else:
                    self.wrong += 1

    def answer(self, more):
        wanted = self.answered + more
        until(f"{self}, and not {wanted}", lambda: self.answered >= wanted)

    def stop(self):
        self.ends.set()
        for thread in self.threads:
            thread.join()

    def __str__(self):
        return (f"{self.answered} answered by {len(self.processes)} processes, {self.refused} refused, "
                f"{self.lost} lost, {self.wrong} wrong or twice")


def main_process(unit):
    return int(shown(unit, "MainPID"))


def is_active(unit, process):
    assert shown(unit, "ActiveState") == "active" and main_process(unit) == process


def stop(unit):
    systemctl("stop", f"{unit}.socket", f"{unit}.service")
    until(f"{unit} does not end", lambda: shown(unit, "ActiveState") == "inactive")
    assert shown(unit, "Result") == "success", shown(unit, "Result")


def hot_restart():
    unit = "hot-restart.service"
    systemctl("start", "hot-restart.socket")
    assert shown(unit, "ActiveState") == "inactive"
    # The first connection starts the service, which answers it.
    with connect(7000) as first:
        process = ask(first, b"hello")
    is_active(unit, process)
    assert shown(unit, "StatusText").startswith("listening on"), shown(unit, "StatusText")
    assert os.stat(f"/proc/{process}").st_uid != 0

    load = Load(7000)
    load.answer(50)
    for _ in range(5):
        systemctl("reload", unit)
        until("the old process goes on", lambda: not os.path.exists(f"/proc/{process}"))
        successor = until("no process follows", lambda: main_process(unit))
        assert successor != process
        is_active(unit, successor)
        process = successor
        load.answer(50)
        assert process in load.processes
    load.stop()
    print(f"hot-restart.service, reloaded five times: {load}", flush=True)
    assert load.refused == load.lost == load.wrong == 0 and len(load.processes) == 6
    assert shown(unit, "NRestarts") == "0"

    # systemd holds the listener as well. A killed process loses only its accepted connections.
    load = Load(7000)
    load.answer(50)
    os.kill(process, signal.SIGKILL)
    until("it is not started again", lambda: shown(unit, "NRestarts") == "1")
    load.answer(50)
    load.stop()
    print(f"hot-restart.service, killed: {load}", flush=True)
    assert load.refused == load.wrong == 0 and load.lost <= 8 and len(load.processes) == 2
    stop("hot-restart")


def app():
    unit = "app.service"
    systemctl("start", "app.socket")
    assert shown(unit, "ActiveState") == "inactive"
    session = connect(8080)
    process = ask(session, b"hello")
    is_active(unit, process)
    assert shown(unit, "StatusText").startswith("listening on"), shown(unit, "StatusText")
    assert shown(unit, "NFileDescriptorStore") == "1"

    # The session outlives the process in the descriptor store.
    systemctl("restart", unit)
    successor = ask(session, b"again")
    assert successor != process
    is_active(unit, successor)
    # Wait for two intervals of the watchdog.
    time.sleep(4)
    is_active(unit, successor)

    # A process whose loop does not turn is killed and started again, and has the session.
    os.kill(successor, signal.SIGSTOP)
    until("the watchdog does not bite", lambda: shown(unit, "NRestarts") == "1")
    third = ask(session, b"and again")
    assert third not in (process, successor)
    session.close()
    until("the session stays in the store", lambda: shown(unit, "NFileDescriptorStore") == "0")
    stop("app")
    print("app.service: restarted, and killed by the watchdog, without losing its session", flush=True)


def bring_loopback_up():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        # SIOCSIFFLAGS, IFF_UP | IFF_RUNNING
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH14x", b"lo", 0x41))


bring_loopback_up()
hot_restart()
app()

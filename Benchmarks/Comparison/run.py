#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Builds the workers of the comparison, measures them, and prints the tables of Docs/Comparison.md.

    python3 Benchmarks/Comparison/run.py [--rounds N] [--write]

--rounds is the number of cancelled receives (1000). --write puts the tables into the page. A
language whose tools are missing is named and left out.
"""

import argparse
import json
import os
import pathlib
import platform
import re
import shutil
import socket
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BUILD = ROOT / ".build/comparison"
PAGE = ROOT / "Docs/Comparison.md"
CRATES = pathlib.Path("/usr/share/cargo/registry")
# How often the workers take turns at the hand-overs, and how many those are.
TURNS, HANDOVERS = 7, 2000

FILES = {
    "C": "C/handover.c",
    "Go": "Go/handover.go",
    "Rust": "Rust/src/handover.rs",
    "Python": "Python/handover.py",
    "Swift": "Swift/Sources/worker/Handover.swift",
    "Swift, on epoll": "Swift/Sources/worker/Handover.swift",
}


def run(*command, **options):
    return subprocess.run([str(part) for part in command], check=True, **options)


def build():
    """Returns the command of each worker."""
    BUILD.mkdir(parents=True, exist_ok=True)
    c = ["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-o"]
    run(*c, BUILD / "parent", HERE / "C/parent.c", HERE / "C/handover.c")
    run(*c, BUILD / "c", HERE / "C/measure.c", HERE / "C/handover.c")
    workers = {"C": [BUILD / "c"], "Python": [sys.executable, HERE / "Python/measure.py"]}
    if shutil.which("go"):
        offline = os.environ | {"GOPROXY": "off"}
        run("go", "build", "-o", BUILD / "go", ".", cwd=HERE / "Go", env=offline)
        workers["Go"] = [BUILD / "go"]
    else:
        print("Go is left out: no go (apt-get install golang-go)", file=sys.stderr)
    if shutil.which("cargo") and list(CRATES.glob("nix-0.26*")) and list(CRATES.glob("tokio-1*")):
        # Offline: from the crates of the system's packages.
        run(
            *("cargo", "build", "--quiet", "--release", "--offline"),
            *("--manifest-path", HERE / "Rust/Cargo.toml", "--target-dir", BUILD / "rust"),
            *("--config", 'source.crates-io.replace-with="system"'),
            *("--config", f'source.system.directory="{CRATES}"'),
        )
        workers["Rust"] = [BUILD / "rust/release/worker"]
    else:
        needed = "cargo librust-tokio-dev librust-nix-dev"
        print(f"Rust is left out: apt-get install {needed}", file=sys.stderr)
    # In the directory of the library's own release build, so that it is compiled once.
    swift = [os.environ.get("SWIFT", "swift"), "build", "--package-path", HERE / "Swift"]
    swift += ["--scratch-path", ROOT / ".build", "--disable-build-manifest-caching"]
    run(*swift, "--configuration", "release", "--product", "worker", stdout=sys.stderr)
    worker = ROOT / ".build/release/worker"
    workers["Swift"] = [worker]
    workers["Swift, on epoll"] = ["env", "MESSAGE_SOCKETS_DRIVER=epoll", worker]
    return {name: workers[name] for name in FILES if name in workers}


def lines_of_code(path):
    """Neither blank lines nor comments."""
    text = re.sub(r'""".*?"""', "", path.read_text(), flags=re.DOTALL)
    lines = (line.strip() for line in text.splitlines())
    return sum(1 for line in lines if line and not line.startswith(("//", "#!", "# ")))


def measured(*command, **options):
    done = subprocess.run(
        [str(part) for part in command], stdout=subprocess.PIPE, timeout=300, check=True, **options
    )
    return json.loads(done.stdout)


def control(worker):
    """Sends a listener twice, and then twice three of them in one message."""
    listener = socket.create_server(("127.0.0.1", 0))
    ours, its = socket.socketpair()
    number = its.fileno()
    for count in (1, 1, 3, 3):
        socket.send_fds(ours, [b"L"], [listener.fileno()] * count)
    with listener, ours, its:
        return measured(
            *("sh", "-c", f'exec "$@" 3<&{number}', "sh"), *worker, "control", pass_fds=[number]
        )


def yes(value):
    return "yes" if value else "**no**"


def tables(workers, rounds):
    speeds = {name: [] for name in workers}
    nonblocking = {}
    for _ in range(TURNS):
        for name, worker in workers.items():
            result = measured(BUILD / "parent", HANDOVERS, *worker)
            speeds[name].append(result["microseconds"])
            nonblocking[name] = result["nonblocking"]
    median = {name: statistics.median(values) for name, values in speeds.items()}

    rows = [
        "| | lines of code | close-on-exec, as below | the first way | three descriptors, as below "
        "| the first way | keeps the flags of the listener | hand-over | beside C |"
    ]
    rows += ["| --- | --- | --- | --- | --- | --- | --- | --- | --- |"]
    for name, worker in workers.items():
        facts = control(worker)
        rows.append(
            f"| {name} | {lines_of_code(HERE / FILES[name])} "
            f"| {yes(facts['cloexec'])} | {yes(facts['plain_cloexec'])} "
            f"| “{facts['three']}”, {facts['leaked']} leaked | {facts['plain_leaked']} leaked "
            f"| {yes(not nonblocking[name])} "
            f"| {median[name]:.0f} µs | {median[name] / median['C']:.2f} |"
        )
    cancelled = ["| | received | left in the socket | lost | descriptors leaked |"]
    cancelled += ["| --- | --- | --- | --- | --- |"]
    for mode, text in (("cancel", "as below"), ("plain", "the first way")):
        for name, worker in workers.items():
            if name.startswith("Swift") and mode == "plain":
                continue
            counts = measured(*worker, mode, rounds)
            cancelled.append(
                f"| {name}, {text} | {counts['received']} | {counts['left']} "
                f"| {counts['lost']} | {counts['leaked']} |"
            )
    return "\n".join(rows), "\n".join(cancelled)


def first_line(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    return (done.stdout or done.stderr).splitlines()[0]


def versions(workers):
    parts = [f"Linux {platform.release()}", "glibc " + platform.libc_ver()[1]]
    parts.append("gcc " + first_line("cc", "-dumpfullversion"))
    if "Go" in workers:
        parts.append(first_line("go", "version").split()[2].replace("go", "Go "))
    if "Rust" in workers:
        parts.append(" ".join(first_line("rustc", "--version").split()[:2]))
        parts += [
            sorted(path.name for path in CRATES.glob(pattern))[0].replace("-", " ")
            for pattern in ("tokio-1*", "nix-0.26*")
        ]
    parts.append(f"Python {platform.python_version()}")
    swift = re.search(r"Swift version (\S+)", first_line("swift", "--version"))
    parts.append("Swift " + swift[1] if swift else "Swift")
    return ", ".join(parts) + f"; {os.cpu_count()} processors"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    workers = build()
    first, second = tables(workers, options.rounds)
    about = f"Measured with {versions(workers)}."
    print(f"{first}\n\n{second}\n\n{about}")
    if options.write:
        text = PAGE.read_text()
        for name, content in (("facts", first), ("cancelled", second), ("versions", about)):
            text = re.sub(
                rf"(<!-- {name} -->\n)[^<]*(\n<!-- end -->)",
                lambda match: match[1] + content + match[2],
                text,
            )
        PAGE.write_text(text)


main()

# SPDX-License-Identifier: Apache-2.0
"""Counts the instructions of each message with callgrind: `make bench-instructions`.

Only instructions in user space are counted, not those of the kernel.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from cases import CASES
from programs import BASELINES, BENCHMARKS, OURS
from tables import render

# The difference between two runs of different length is due to the messages alone.
SHORT, LONG = 600, 1800


def _count(binary, arguments, preload, folder):
    output = Path(folder) / "callgrind.out"
    command = [
        "valgrind",
        "--tool=callgrind",
        f"--callgrind-out-file={output}",
        str(binary),
        *arguments,
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=90,
        env={"PATH": "/usr/bin:/bin", **preload},
    )
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or not found:
        sys.exit(f"{binary.name} did not run under callgrind:\n{done.stderr[-800:]}")
    return int(found.group(1))


def _stripped(binary, folder):
    """Copies a binary without debug information: valgrind cannot read that of Swift 6."""
    copy = Path(folder) / binary.name
    subprocess.run(["strip", "--strip-debug", "-o", str(copy), str(binary)], check=True)
    return copy


def _per_message(binary, arguments, preload, folder, pairs, counts_all):
    counted = []
    for messages in (SHORT, LONG):
        # The baselines take the total number of messages, the library's program that of each pair.
        number = messages * pairs if counts_all else messages
        counted.append(
            _count(
                binary, [*arguments, "--warmup", "0", "--messages", str(number)], preload, folder
            )
        )
    return (counted[1] - counted[0]) / ((LONG - SHORT) * pairs)


def main():
    if shutil.which("valgrind") is None:
        sys.exit("skipped: no valgrind (apt-get install valgrind)")
    with tempfile.TemporaryDirectory() as folder:
        shim = Path(folder) / "wait.so"
        subprocess.run(
            [
                "cc",
                "-O2",
                "-shared",
                "-fPIC",
                "-o",
                str(shim),
                str(BENCHMARKS / "Runner/wait_by_polling.c"),
                "-luring",
            ],
            check=True,
        )
        rows = [
            [
                "case",
                "c_ring_single",
                "c_ring_multishot",
                *[f"ours, {shape}" for shape in ("receive", "messages", "span")],
            ]
        ]
        for case in CASES:
            if case.name not in {
                "pingpong.fd0.pairs16",
                "pingpong.fd1.pairs1",
                "pingpong.fd1.pairs16",
            }:
                continue
            row = [case.name]
            for name in ("c_ring_single", "c_ring_multishot"):
                binary = _stripped(BASELINES[name].binary, folder)
                row.append(
                    f"{_per_message(binary, case.options('pingpong'), {}, folder, case.pairs, True):.0f}"
                )
            binary = _stripped(OURS.binary, folder)
            for shape in ("receive", "messages", "span"):
                arguments = [*case.options("pingpong"), "--shape", shape]
                row.append(
                    f"{_per_message(binary, arguments, {'LD_PRELOAD': str(shim)}, folder, case.pairs, False):.0f}"
                )
            rows.append(row)
            print(f"{case.name} counted", file=sys.stderr)
        print(render(rows))


main()

# SPDX-License-Identifier: Apache-2.0
"""Counts the instructions of each message with callgrind: `make bench-instructions`.

Only instructions in user space are counted, not the kernel's. `--check` counts ours only and fails
where a count is more than 3 % away from Benchmarks/instructions.json. `--record` writes that file.
"""

import argparse
import concurrent.futures
import json
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from cases import CASES
from programs import BASELINES, BENCHMARKS, OURS
from tables import render

# Two runs of different length: the difference is the messages' alone.
SHORT, LONG = 300, 900
# How far from the recorded count a case may be, in the nearer of two runs. Runs of one program
# differ by up to 2.3 % with one pair, where a task sometimes waits a turn longer, and by 0.3 % with
# 16.
TOLERANCE = 0.03
RECORD = BENCHMARKS / "instructions.json"

COMPARED = ("pingpong.fd0.pairs16", "pingpong.fd1.pairs1", "pingpong.fd1.pairs16")
# Case and way to receive.
GUARDED = [
    *[(case, shape) for case in COMPARED for shape in ("receive", "messages", "span")],
    ("pingpong.fd1.pairs64", "span"),
    ("pingpong.fd16.pairs16", "span"),
    ("pingpong.fd1.pairs16.seqpacket", "receive"),
]


def _count(binary, arguments, preload):
    command = [
        "valgrind",
        "--tool=callgrind",
        "--callgrind-out-file=/dev/null",
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
    """valgrind does not read the debug information of Swift 6."""
    copy = Path(folder) / binary.name
    subprocess.run(["strip", "--strip-debug", "-o", str(copy), str(binary)], check=True)
    return copy


def _per_message(binary, arguments, preload, pairs, counts_all):
    counted = []
    for messages in (SHORT, LONG):
        # The baselines count the messages of all pairs, ours those of each.
        number = messages * pairs if counts_all else messages
        counted.append(
            _count(binary, [*arguments, "--warmup", "0", "--messages", str(number)], preload)
        )
    return (counted[1] - counted[0]) / ((LONG - SHORT) * pairs)


class Counter:
    def __init__(self, folder):
        self.folder = folder
        shim = Path(folder) / "wait.so"
        source = BENCHMARKS / "Runner/wait_by_polling.c"
        subprocess.run(
            ["cc", "-O2", "-shared", "-fPIC", "-o", str(shim), str(source), "-luring"], check=True
        )
        self.preload = {"LD_PRELOAD": str(shim)}
        self.binary = _stripped(OURS.binary, folder)

    def baseline(self, case, name):
        binary = _stripped(BASELINES[name].binary, self.folder)
        return _per_message(binary, case.options("pingpong"), {}, case.pairs, True)

    def ours(self, case, shape):
        arguments = [*case.options("pingpong"), "--shape", shape]
        return _per_message(self.binary, arguments, self.preload, case.pairs, False)


def _case(name):
    return next(case for case in CASES if case.name == name)


def compare(counter):
    """Ours beside C, as a table."""
    baselines = ("c_ring_single", "c_ring_multishot")
    shapes = ("receive", "messages", "span")
    rows = [["case", *baselines, *[f"ours, {shape}" for shape in shapes]]]
    for name in COMPARED:
        case = _case(name)
        counts = [counter.baseline(case, baseline) for baseline in baselines]
        counts += [counter.ours(case, shape) for shape in shapes]
        rows.append([name, *[f"{count:.0f}" for count in counts]])
        print(f"{name} counted", file=sys.stderr)
    print(render(rows))


def guarded(counter):
    """The counts of all guarded cases, two at a time: each runs on one processor."""

    def count(guarded_case):
        name, shape = guarded_case
        counted = round(counter.ours(_case(name), shape))
        print(f"{name}, {shape} counted", file=sys.stderr)
        return f"{name}, {shape}", counted

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return dict(pool.map(count, GUARDED))


def record(counter):
    RECORD.write_text(
        json.dumps({"machine": platform.machine(), "instructions": guarded(counter)}, indent=2)
        + "\n"
    )


def check(counter):
    """True if all cases are within the tolerance."""
    recorded = json.loads(RECORD.read_text())
    if recorded["machine"] != platform.machine():
        print(f"skipped: the counts are those of {recorded['machine']}")
        return True
    rows, failed = [["case", "recorded", "counted", "difference"]], []
    for name, count in guarded(counter).items():
        expected = recorded["instructions"].get(name)
        if expected is None:
            failed.append(f"{name} is not recorded")
            continue
        if abs(count / expected - 1) > TOLERANCE:
            # With one pair a busy machine changes how often a task waits a turn longer.
            again = round(counter.ours(_case(name.split(", ")[0]), name.split(", ")[1]))
            count = min(count, again, key=lambda value: abs(value - expected))
        difference = count / expected - 1
        rows.append([name, f"{expected}", f"{count}", f"{difference:+.1%}"])
        if abs(difference) > TOLERANCE:
            failed.append(f"{name}: {count} instructions for each message, recorded are {expected}")
    print(render(rows))
    for line in failed:
        print(f"error: {line}")
    if failed:
        print("If that is meant: make bench-instructions RECORD=1, and say why in the commit.")
    return not failed


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true")
    what.add_argument("--record", action="store_true")
    options = parser.parse_args()
    if shutil.which("valgrind") is None:
        sys.exit("no valgrind (apt-get install valgrind)")
    with tempfile.TemporaryDirectory() as folder:
        counter = Counter(folder)
        if options.check:
            sys.exit(not check(counter))
        elif options.record:
            record(counter)
        else:
            compare(counter)


main()

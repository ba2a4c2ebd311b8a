# SPDX-License-Identifier: Apache-2.0
"""Builds all measured programs. The library's must build; missing baselines are named."""

import os
import re
import subprocess
import sys

from programs import BENCHMARKS, REPOSITORY

SWIFT = os.environ.get("SWIFT", "swift")


def _say(text):
    print(text, file=sys.stderr, flush=True)


def _make_baselines(missing):
    done = subprocess.run(
        ["make", "--keep-going", "-C", str(BENCHMARKS / "Baselines")],
        capture_output=True,
        text=True,
    )
    # "skipped: program, program: reason"
    for names, reason in re.findall(r"^skipped: ([^:]+): (.*)$", done.stdout, re.MULTILINE):
        missing |= {name.strip(): reason for name in names.split(",")}
    if done.returncode != 0:
        _say("some baselines did not build; the first errors:")
        _say("\n".join(re.findall(r"^.*(?:error|Error).*$", done.stderr, re.MULTILINE)[:5]))


def _swift_package(name):
    done = subprocess.run(
        [SWIFT, "build", "--configuration", "release", "--package-path", str(BENCHMARKS / name)],
        capture_output=True,
        text=True,
    )
    if done.returncode == 0:
        return None
    errors = re.findall(r"error: (.*)$", done.stdout + done.stderr, re.MULTILINE)
    return errors[0] if errors else f"status {done.returncode}"


def _allocation_counter():
    """Builds the tests' allocation counter as a library to preload. None without a C compiler."""
    source = REPOSITORY / "Tests/CAllocationCounter"
    library = REPOSITORY / ".build/bench/liballocationcounter.so"
    library.parent.mkdir(parents=True, exist_ok=True)
    command = [
        "cc",
        "-O2",
        "-shared",
        "-fPIC",
        "-I",
        str(source / "include"),
        "-o",
        str(library),
        str(source / "CAllocationCounter.c"),
    ]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        _say("no C compiler: allocations are not counted")
        return None
    return str(library)


def build():
    """Returns the reasons why programs are missing, by binary name, and the allocation counter."""
    missing = {}
    _say("building the baselines")
    _make_baselines(missing)
    for package in ("MessageSockets", "Codec"):
        _say(f"building Benchmarks/{package}")
        failure = _swift_package(package)
        if failure is not None:
            sys.exit(f"Benchmarks/{package} does not build: {failure}")
    _say("building Benchmarks/SwiftPeers")
    failure = _swift_package("SwiftPeers")
    if failure is not None:
        missing |= {
            name: f"does not build here: {failure}" for name in ("swift-nio", "flyingsocks")
        }
        # Binaries that an earlier build left do not represent this machine.
        for name in ("swift-nio", "flyingsocks"):
            (BENCHMARKS / "SwiftPeers/.build/release" / name).unlink(missing_ok=True)
    return missing, _allocation_counter()

# SPDX-License-Identifier: Apache-2.0
"""Describes the machine and the versions of a run, without host names and paths."""

import os
import platform
import re
import subprocess
from pathlib import Path

from programs import BENCHMARKS, REPOSITORY


def _output(*command, cwd=None):
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=cwd)
    except OSError:
        return ""
    return done.stdout + done.stderr if done.returncode == 0 else ""


def _version(pattern, *command):
    found = re.search(pattern, _output(*command))
    return found.group(1) if found else None


def _processor():
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found.group(1) if found else platform.machine()


def _virtual():
    return (
        " (virtual machine)"
        if re.search(r"^flags.*\bhypervisor\b", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        else ""
    )


def _resolved(package):
    """Returns the version of a Swift package that the peers were built with."""
    try:
        text = (BENCHMARKS / "SwiftPeers/Package.resolved").read_text()
    except OSError:
        return None
    found = re.search(rf'"identity" : "{package}".*?"version" : "([^"]+)"', text, re.DOTALL)
    return found.group(1) if found else None


def _crate(name):
    crates = sorted(Path("/usr/share/cargo/registry").glob(f"{name}-[0-9]*"))
    return crates[-1].name.removeprefix(f"{name}-") if crates else None


def describe():
    """Returns one line for the machine and one for the versions."""
    cores = len(os.sched_getaffinity(0))
    hardware = f"{_processor()}{_virtual()}, {cores} {'core' if cores == 1 else 'cores'}, Linux {platform.release()}"
    versions = {
        "Swift": _version(r"Swift version (\S+)", "swift", "--version"),
        "gcc": _output("cc", "-dumpfullversion").strip(),
        "liburing": _output("pkg-config", "--modversion", "liburing").strip(),
        "rustc": _version(r"rustc (\S+)", "rustc", "--version"),
        "tokio": _crate("tokio"),
        "Go": _version(r"go(\d\S*)", "go", "version"),
        "SwiftNIO": _resolved("swift-nio"),
        "FlyingSocks": _resolved("flyingfox"),
    }
    commit = _output("git", "rev-parse", "--short", "HEAD", cwd=REPOSITORY).strip()
    software = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    return [hardware, software + (f"; commit {commit}" if commit else "")]

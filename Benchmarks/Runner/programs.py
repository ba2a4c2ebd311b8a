# SPDX-License-Identifier: Apache-2.0
"""The compared programs and the cases that each can run."""

from dataclasses import dataclass, field
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parent.parent
REPOSITORY = BENCHMARKS.parent

SINGLE = {"pingpong": "pingpong", "oneway": "oneway", "idle": "idle", "accept": "accept"}
TWO = {"twothreads": "twothreads"}
RING = {**SINGLE, **TWO, "cancel": "cancel", "twoprocesses": "twoprocesses"}


@dataclass(frozen=True)
class Program:
    # The name in the results.
    name: str
    # The label in plots.
    label: str
    binary: Path
    # The program's own names of the modes that it supports.
    modes: dict
    carries_descriptors: bool = True
    kinds: tuple = ("stream", "seqpacket", "dgram")

    def refusal(self, case):
        """Returns the reason why the program cannot run the case, or None."""
        if case.mode not in self.modes:
            return f"has no {case.mode} mode"
        if case.fds > 0 and not self.carries_descriptors:
            return "carries no descriptors"
        if case.kind not in self.kinds:
            return f"has no {case.kind} sockets"
        return None


def _baseline(name, label, modes, binary=None):
    return Program(name, label, BENCHMARKS / "Baselines/.build" / (binary or name), modes)


def _swift(package, name, label, modes, **more):
    return Program(
        name.replace("-", "_"), label, BENCHMARKS / package / ".build/release" / name, modes, **more
    )


OURS = _swift("MessageSockets", "message-sockets", "MessageSockets", {**RING})

BASELINES = {
    program.name: program
    for program in [
        _baseline("c_ring_single", "C, io_uring, single-shot", RING),
        _baseline("c_ring_multishot", "C, io_uring, multishot", RING),
        _baseline("c_epoll", "C, epoll", {**SINGLE, **TWO}),
        # One thread that never waits: the cost of the bare system calls.
        _baseline(
            "c_blocking",
            "C, bare system calls",
            {"pingpong": "pingpong", "oneway": "oneway", "accept": "accept", **TWO},
        ),
        _baseline("c_threads", "C, a thread each", {"pingpong": "perside"}, binary="c_blocking"),
        _baseline("tokio_current", "tokio, current thread", SINGLE, binary="tokio_pingpong"),
        _baseline("tokio_two_workers", "tokio, two workers", TWO, binary="tokio_pingpong"),
        _baseline("go", "Go", {**SINGLE, **TWO}, binary="go_pingpong"),
        _swift(
            "SwiftPeers",
            "swift-nio",
            "SwiftNIO",
            {"pingpong": "pingpong", "oneway": "oneway", **TWO},
            carries_descriptors=False,
            kinds=("stream",),
        ),
        _swift(
            "SwiftPeers",
            "flyingsocks",
            "FlyingSocks",
            {"pingpong": "pingpong", "oneway": "oneway", **TWO},
            carries_descriptors=False,
            kinds=("stream",),
        ),
        _swift(
            "MessageSockets",
            "swift-blocking",
            "Swift, a thread each",
            {"pingpong": "perside", "oneway": "oneway"},
        ),
    ]
}

# The baseline that codec-bench contains.
CODEC_BASELINE = "c_cmsg"
LABELS = {
    OURS.name: OURS.label,
    CODEC_BASELINE: "C, CMSG macros",
    **{name: p.label for name, p in BASELINES.items()},
}

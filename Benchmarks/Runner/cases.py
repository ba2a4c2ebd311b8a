# SPDX-License-Identifier: Apache-2.0
"""The table of cases. To add a case, add an entry. plots.py and targets.py refer to cases by name."""

import resource
from dataclasses import dataclass, replace

RINGS = ("c_ring_single", "c_ring_multishot")
ONE_LOOP = (*RINGS, "c_epoll", "tokio_current", "go")
# With a thread for each end, every message wakes a thread. Measuring that for one pair suffices.
ONE_PAIR = (*ONE_LOOP, "c_blocking", "c_threads", "swift_blocking")
TWO_LOOPS = (*RINGS, "tokio_two_workers", "go")
SWIFT_PEERS = ("swift_nio", "flyingsocks")
SHAPES = ("receive", "messages", "span")

# The number of descriptors that a program has open besides its sockets and received descriptors,
# and the number of messages that idle mode has in flight.
_OTHER_DESCRIPTORS = 300
_WAVE = 64


@dataclass(frozen=True)
class Case:
    name: str
    # The heading of the table that shows the case.
    group: str
    mode: str = "pingpong"
    pairs: int = 1
    fds: int = 1
    bytes: int = 64
    kind: str = "stream"
    # None selects the default of the mode.
    threads: int | None = None
    baselines: tuple = ONE_LOOP
    # The ways in which the library receives. The fastest one counts.
    shapes: tuple = SHAPES
    # Further arguments of the library's program, and its environment.
    arguments: tuple = ()
    environment: tuple = ()
    # Whether a quick run includes the case.
    quick: bool = False
    # A factor for the number of rounds, for cases in which small differences matter.
    repeats: int = 1

    def within_the_limit(self):
        """Returns the case with as many pairs as the descriptor limit permits, or None and a reason.

        A case that could have only fewer than half of its pairs does not run.
        """
        limit = _descriptor_limit()
        received = _WAVE * self.fds if self.mode == "idle" else 0
        each = 2 + (0 if self.mode == "idle" else self.fds)
        possible = (limit - received - _OTHER_DESCRIPTORS) // each
        if possible < self.pairs / 2:
            return None, f"needs {self.pairs * each:,} open descriptors; the limit is {limit:,}"
        return replace(self, pairs=min(self.pairs, possible)), None

    def options(self, mode):
        options = [
            "--mode",
            mode,
            "--pairs",
            self.pairs,
            "--fds",
            self.fds,
            "--bytes",
            self.bytes,
            "--kind",
            self.kind,
        ]
        if self.threads is not None:
            options += ["--threads", self.threads]
        return [str(option) for option in options]


def _descriptor_limit():
    """Returns the limit to which the programs can raise theirs."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1_000_000, 1_000_000))
        return 1_000_000
    except (ValueError, OSError):
        return hard


def _pingpong(fds, pairs, **more):
    baselines = (ONE_PAIR if pairs == 1 else ONE_LOOP) + (SWIFT_PEERS if fds == 0 else ())
    quick = (fds, pairs) in {(0, 16), (1, 1), (1, 16), (1, 64)}
    repeats = 3 if fds == 1 and pairs < 1000 else 1
    return Case(
        f"pingpong.fd{fds}.pairs{pairs}",
        "One loop",
        pairs=pairs,
        fds=fds,
        baselines=baselines,
        quick=quick,
        repeats=repeats,
        **more,
    )


def _two_loops(fds, pairs):
    baselines = TWO_LOOPS + (SWIFT_PEERS if fds == 0 else ())
    return Case(
        f"twoloops.fd{fds}.pairs{pairs}",
        "Two loops",
        mode="twothreads",
        pairs=pairs,
        fds=fds,
        baselines=baselines,
        quick=(fds, pairs) == (1, 16),
    )


# Cost by the number of connections, descriptors and loops, compared with C only. The cases above
# supply the points that are missing here.
def _connections(pairs):
    return Case(
        f"connections.fd1.pairs{pairs}", "Scaling", pairs=pairs, baselines=(*RINGS, "c_epoll")
    )


def _descriptors(fds):
    return Case(f"descriptors.fd{fds}.pairs16", "Scaling", pairs=16, fds=fds, baselines=RINGS)


def _loops(count):
    return Case(
        f"loops{count}.fd1.pairs64",
        "Scaling",
        mode="twothreads",
        threads=count,
        pairs=64,
        baselines=RINGS,
    )


CASES = [
    *[_pingpong(fds, pairs) for fds in (0, 1, 16, 253) for pairs in (1, 16, 64, 1000)],
    *[_two_loops(fds, pairs) for fds in (0, 1, 16, 253) for pairs in (16, 64, 1000)],
    # One way
    *[
        Case(
            f"oneway.messages.fd{fds}.pairs{pairs}",
            "One way",
            mode="oneway",
            pairs=pairs,
            fds=fds,
            shapes=("messages",),
            baselines=ONE_LOOP + (SWIFT_PEERS if fds == 0 else ()),
            quick=(fds, pairs) == (1, 16),
        )
        for fds in (0, 1)
        for pairs in (1, 16)
    ],
    *[
        Case(
            f"oneway.batches.fd{fds}.pairs{pairs}",
            "One way",
            mode="oneway",
            pairs=pairs,
            fds=fds,
            shapes=("batches",),
        )
        for fds in (0, 1)
        for pairs in (1, 16)
    ],
    # Other payloads and kinds of socket
    Case("pingpong.fd0.pairs16.64k", "Other messages", pairs=16, fds=0, bytes=65536),
    Case("pingpong.fd1.pairs16.64k", "Other messages", pairs=16, bytes=65536, quick=True),
    Case(
        "oneway.messages.fd1.pairs16.64k",
        "Other messages",
        mode="oneway",
        pairs=16,
        bytes=65536,
        shapes=("messages",),
    ),
    Case("pingpong.fd1.pairs16.seqpacket", "Other messages", pairs=16, kind="seqpacket"),
    *[
        Case(
            f"datagrams.fd{fds}.pairs{pairs}",
            "Other messages",
            pairs=pairs,
            fds=fds,
            kind="dgram",
            quick=(fds, pairs) == (1, 16),
        )
        for fds in (0, 1)
        for pairs in (1, 16)
    ],
    # Elsewhere
    Case("twoprocesses.fd1.pairs1", "Elsewhere", mode="twoprocesses", baselines=RINGS),
    Case(
        "twoprocesses.fd1.pairs16",
        "Elsewhere",
        mode="twoprocesses",
        pairs=16,
        baselines=RINGS,
        quick=True,
    ),
    *[
        Case(
            f"{place}.fd1.pairs{pairs}",
            "Elsewhere",
            pairs=pairs,
            arguments=("--tasks", place),
            baselines=("c_ring_single", "tokio_current"),
        )
        for place in ("loop", "pool")
        for pairs in (1, 16)
    ],
    # The epoll driver
    *[
        Case(
            f"epoll.fd{fds}.pairs{pairs}",
            "Epoll driver",
            pairs=pairs,
            fds=fds,
            baselines=("c_epoll", "tokio_current", "go"),
            environment=(("MESSAGE_SOCKETS_DRIVER", "epoll"),),
            quick=(fds, pairs) == (1, 16),
        )
        for fds in (0, 1)
        for pairs in (1, 16, 64)
    ],
    # Connections
    Case(
        "accept.fd1.pairs1",
        "Connections",
        mode="accept",
        shapes=("receive",),
        baselines=(*ONE_LOOP, "c_blocking"),
    ),
    Case(
        "accept.fd1.pairs16",
        "Connections",
        mode="accept",
        pairs=16,
        shapes=("receive",),
        quick=True,
    ),
    Case(
        "idle.fd1.pairs10000",
        "Connections",
        mode="idle",
        pairs=10000,
        shapes=("receive", "messages"),
    ),
    Case(
        "cancel.pairs1", "Connections", mode="cancel", fds=0, shapes=("receive",), baselines=RINGS
    ),
    Case(
        "cancel.pairs16",
        "Connections",
        mode="cancel",
        fds=0,
        pairs=16,
        shapes=("receive",),
        baselines=RINGS,
        quick=True,
    ),
    # Scaling
    *[_connections(pairs) for pairs in (4, 256, 4000, 10000)],
    *[_descriptors(fds) for fds in (4, 64)],
    *[_loops(count) for count in (1, 2, 4)],
]

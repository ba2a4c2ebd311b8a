# SPDX-License-Identifier: Apache-2.0
"""The table of plots and their contents."""

from dataclasses import dataclass

from programs import LABELS, OURS
from svg import bars, lines


@dataclass(frozen=True)
class Plot:
    file: str
    title: str
    # The label of each group of bars, or of each position on the axis, and the case that it shows.
    points: tuple
    baselines: tuple
    # The axis of a line plot over numbers. None selects bars.
    axis: str | None = None
    # "ns" or "bytes"
    quantity: str = "ns"
    unit: str = "µs for each round trip"


_C = ("c_ring_single", "c_ring_multishot", "c_epoll")
_PEERS = (*_C, "tokio_current", "go")


def _pairs(prefix, *counts):
    return tuple(
        (f"{count} {'pair' if count == 1 else 'pairs'}", f"{prefix}.pairs{count}")
        for count in counts
    )


PLOTS = [
    Plot(
        "one-loop-fd1.svg",
        "Ping-pong with one descriptor, one loop",
        _pairs("pingpong.fd1", 1, 16, 64, 1000),
        _PEERS,
    ),
    Plot(
        "one-loop-fd0.svg",
        "Ping-pong without descriptors, one loop",
        _pairs("pingpong.fd0", 1, 16, 64, 1000),
        (*_PEERS, "swift_nio"),
    ),
    Plot(
        "two-loops.svg",
        "Ping-pong with one descriptor, two loops",
        _pairs("twoloops.fd1", 16, 64, 1000),
        ("c_ring_single", "c_ring_multishot", "tokio_two_workers", "go"),
    ),
    Plot(
        "one-way.svg",
        "One way, `messages`",
        tuple(
            (
                f"{fds} fd, {pairs} {'pair' if pairs == 1 else 'pairs'}",
                f"oneway.messages.fd{fds}.pairs{pairs}",
            )
            for fds in (0, 1)
            for pairs in (1, 16)
        ),
        _PEERS,
        unit="µs for each message",
    ),
    Plot(
        "epoll.svg",
        "Epoll driver, ping-pong with one descriptor",
        _pairs("epoll.fd1", 1, 16, 64),
        ("c_epoll", "tokio_current", "go"),
    ),
    Plot(
        "connections.svg",
        "Accept, one message, close; cancel a receive",
        (
            ("accept, 1 at a time", "accept.fd1.pairs1"),
            ("accept, 16", "accept.fd1.pairs16"),
            ("cancel, 1", "cancel.pairs1"),
            ("cancel, 16", "cancel.pairs16"),
        ),
        _PEERS,
        unit="µs each",
    ),
    Plot(
        "idle.svg",
        "Resident memory of an idle connection, of 10,000",
        (("a receive pending", "idle.fd1.pairs10000"),),
        _PEERS,
        quantity="bytes",
        unit="bytes",
    ),
    Plot(
        "elsewhere.svg",
        "Two processes; tasks on the global pool",
        (
            ("2 processes, 1 pair", "twoprocesses.fd1.pairs1"),
            ("2 processes, 16", "twoprocesses.fd1.pairs16"),
            ("pool, 1 pair", "pool.fd1.pairs1"),
            ("pool, 16", "pool.fd1.pairs16"),
        ),
        ("c_ring_single", "c_ring_multishot", "tokio_current"),
    ),
    Plot(
        "one-way-batches.svg",
        "One way, `receiveMessages(max:)`",
        tuple(
            (
                f"{fds} fd, {pairs} {'pair' if pairs == 1 else 'pairs'}",
                f"oneway.batches.fd{fds}.pairs{pairs}",
            )
            for fds in (0, 1)
            for pairs in (1, 16)
        ),
        _PEERS,
        unit="µs for each message",
    ),
    Plot(
        "other-messages.svg",
        "Ping-pong of 16 pairs: 64 KiB, seqpacket, datagrams",
        (
            ("0 fd, 64 KiB", "pingpong.fd0.pairs16.64k"),
            ("1 fd, 64 KiB", "pingpong.fd1.pairs16.64k"),
            ("1 fd, seqpacket", "pingpong.fd1.pairs16.seqpacket"),
            ("0 fd, datagrams", "datagrams.fd0.pairs16"),
            ("1 fd, datagrams", "datagrams.fd1.pairs16"),
        ),
        _PEERS,
    ),
    Plot(
        "scaling-connections.svg",
        "Cost against the number of connections, one descriptor",
        tuple(
            (
                count,
                f"{'pingpong' if count in (1, 16, 64, 1000) else 'connections'}.fd1.pairs{count}",
            )
            for count in (1, 4, 16, 64, 256, 1000, 4000, 10000)
        ),
        _C,
        axis="pairs",
    ),
    Plot(
        "scaling-descriptors.svg",
        "Cost against the number of descriptors, 16 pairs",
        tuple(
            (count, f"{'descriptors' if count in (4, 64) else 'pingpong'}.fd{count}.pairs16")
            for count in (0, 1, 4, 16, 64, 253)
        ),
        ("c_ring_single", "c_ring_multishot"),
        axis="descriptors in each message",
    ),
    Plot(
        "scaling-loops.svg",
        "Cost against the number of loops, one descriptor, 64 pairs",
        tuple((count, f"loops{count}.fd1.pairs64") for count in (1, 2, 4)),
        ("c_ring_single", "c_ring_multishot"),
        axis="loops, or threads",
    ),
    Plot(
        "codec.svg",
        "Encoding and decoding alone",
        tuple(
            (f"{operation}, {count} fd", f"codec.{operation}.fd{count}")
            for operation in ("encode", "decode")
            for count in (1, 253)
        ),
        ("c_cmsg",),
        unit="ns each",
    ),
]


def _value(result, name, plot):
    if plot.quantity == "bytes":
        return result["resident_bytes"].get(name)
    nanoseconds = result["ours_ns"] if name == OURS.name else result["baselines"].get(name)
    return nanoseconds if nanoseconds is None or plot.unit.startswith("ns") else nanoseconds / 1000


def write_all(results, description, folder):
    """Writes every plot that has results. Returns their file names and titles."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {result["case"]: result for result in results}
    drawn = []
    for plot in PLOTS:
        shown = [
            (position, found[case])
            for position, case in plot.points
            if case in found and found[case]["ours_ns"] is not None
        ]
        points = [
            (result.get("pairs", position) if plot.axis == "pairs" else position, result)
            for position, result in shown
        ]
        if len(points) < (1 if plot.axis is None else 2):
            continue
        series = {}
        for name in (OURS.name, *plot.baselines):
            values = [_value(result, name, plot) for _, result in points]
            if any(value is not None for value in values):
                series[name] = (LABELS[name], values)
        positions = [position for position, _ in points]
        draw = bars if plot.axis is None else lines
        (folder / plot.file).write_text(
            draw(plot.title, plot.unit, plot.axis, positions, series, description)
        )
        drawn.append((plot.file, plot.title))
    return drawn

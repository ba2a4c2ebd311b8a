# SPDX-License-Identifier: Apache-2.0
"""The targets and the check whether a run meets them."""

from dataclasses import dataclass

from programs import BASELINES
from tables import render


@dataclass(frozen=True)
class Target:
    text: str
    cases: tuple
    baselines: tuple
    # The permitted multiples of the baseline. A second limit, if any, is the long-term goal.
    limits: tuple


def _pingpong(fds, *pairs):
    return tuple(f"pingpong.fd{fds}.pairs{count}" for count in pairs)


TARGETS = [
    Target("ping-pong, 1 fd, one loop", _pingpong(1, 1, 16, 64), ("c_ring_single",), (1.10, 1.00)),
    Target(
        "ping-pong, 1 fd, one loop", _pingpong(1, 1, 16, 64), ("c_ring_multishot",), (1.30, 1.15)
    ),
    Target("ping-pong, 1 fd, one loop", _pingpong(1, 1, 16, 64), ("tokio_current",), (0.95, 0.85)),
    Target(
        "two loops, 1 fd",
        ("twoloops.fd1.pairs16", "twoloops.fd1.pairs64"),
        ("tokio_two_workers", "go"),
        (0.95,),
    ),
    Target(
        "one-way `messages`, 1 fd",
        ("oneway.messages.fd1.pairs1", "oneway.messages.fd1.pairs16"),
        ("c_ring_multishot",),
        (1.30, 1.15),
    ),
    Target("0 fd, same socket kind", _pingpong(0, 1, 16, 64), ("swift_nio",), (0.75,)),
    Target(
        "epoll driver, 1 fd",
        ("epoll.fd1.pairs1", "epoll.fd1.pairs16", "epoll.fd1.pairs64"),
        ("c_epoll",),
        (1.25,),
    ),
]
# The largest permitted number of io_uring_enter calls for each message of the library.
ENTERS = (("pingpong.fd1.pairs64", 0.10),)
IDLE_CASE, IDLE_LIMIT = "idle.fd1.pairs10000", 2048
SPAN_CASES = _pingpong(0, 1, 16, 64) + _pingpong(1, 1, 16, 64)


def _verdict(value, limits):
    # Compare the value as displayed: allocations at the start of a run are no cost of a message.
    value = round(value, 2)
    if value <= limits[-1]:
        return "hit"
    return "first step" if value <= limits[0] else "miss"


def _derived(found):
    """Returns the results of the targets that are a ratio of two cases."""

    def ours(case):
        return found[case]["ours_ns"] if case in found else None

    def c(case):
        return found[case]["baselines"].get("c_ring_single") if case in found else None

    one, two = ours("loops1.fd1.pairs64"), ours("loops2.fd1.pairs64")
    if one and two:
        yield "throughput of two loops in that of one, 64 pairs", one / two, "1.50 or more", one / two >= 1.5
    few, many = "pingpong.fd1.pairs16", "pingpong.fd1.pairs1000"
    if ours(few) and ours(many) and c(few) and c(many):
        growth = ours(many) / ours(few) / (c(many) / c(few))
        yield "time of 1,000 pairs in that of 16, in what C loses", growth, "1.30", growth <= 1.30
    for case, limit in ENTERS:
        if case in found and found[case]["enters_per_msg"] is not None:
            enters = found[case]["enters_per_msg"]
            yield f"enters for each message, {case}", enters, f"{limit:.2f}", enters <= limit


def _limits(limits):
    return ", then ".join(f"{limit:.2f}" for limit in limits)


def table(results):
    """Returns the targets that the run has figures for, or None if there are none."""
    found = {result["case"]: result for result in results}
    rows = [["target", "case", "against", "at most", "measured", "verdict"]]
    for target in TARGETS:
        for case in target.cases:
            for baseline in target.baselines:
                ratio = found.get(case, {"ratios": {}})["ratios"].get(baseline)
                if ratio is not None:
                    rows.append(
                        [
                            target.text,
                            case,
                            baseline,
                            _limits(target.limits),
                            f"{ratio:.2f}",
                            _verdict(ratio, target.limits),
                        ]
                    )
    for text, value, limit, is_hit in _derived(found):
        rows.append([text, "", "", limit, f"{value:.2f}", "hit" if is_hit else "miss"])
    if IDLE_CASE in found:
        # A task that waits for anything else costs this much without the library, too.
        ours = (
            found[IDLE_CASE]["resident_bytes"]["message_sockets"] - found[IDLE_CASE]["task_bytes"]
        )
        rows.append(
            [
                "idle connection, beside its task",
                IDLE_CASE,
                "",
                f"{IDLE_LIMIT} bytes",
                f"{ours:.0f} bytes",
                _verdict(ours, (IDLE_LIMIT,)),
            ]
        )
    for case in SPAN_CASES:
        count = found.get(case, {"shapes": {}})["shapes"].get("span", {}).get("allocs_per_msg")
        if count is not None:
            rows.append(
                [
                    "allocations for each message, span form",
                    case,
                    "",
                    "0",
                    f"{count:.2f}",
                    _verdict(count, (0,)),
                ]
            )
    return render(rows) if len(rows) > 1 else None

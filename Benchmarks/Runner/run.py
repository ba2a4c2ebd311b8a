# SPDX-License-Identifier: Apache-2.0
"""Runs the programs of a case in turn, for several rounds.

Results are the medians of the times, and of the ratios within each round.
"""

import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from itertools import zip_longest

from programs import BASELINES, OURS


@dataclass
class Settings:
    rounds: int
    # Whether to run the further rounds that some cases request.
    repeats: bool
    seconds: float
    warmup: float
    # The reasons why programs are missing, by binary.
    missing: dict = field(default_factory=dict)
    # The library that counts allocations, or None.
    counter: str | None = None


class ProgramFailed(Exception):
    pass


def _run(binary, case, mode, settings, extra=(), environment=()):
    command = [
        str(binary),
        *case.options(mode),
        "--seconds",
        str(settings.seconds),
        "--warmup",
        str(settings.warmup),
        *extra,
    ]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, **dict(environment)},
        )
    except subprocess.TimeoutExpired:
        raise ProgramFailed("took more than a minute")
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        raise ProgramFailed(
            lines[-1].removeprefix(f"{binary.name}: ") if lines else f"status {done.returncode}"
        )
    return json.loads(done.stdout)


def nanoseconds(figures):
    return figures["ns_per_roundtrip"] or figures["ns_per_message"]


class _Series:
    """The figures of one program or shape in all rounds."""

    def __init__(self, run):
        self.run = run
        self.figures = []
        self.failure = None

    def measure(self):
        if self.failure is None:
            try:
                self.figures.append(self.run())
            except ProgramFailed as failure:
                self.failure = str(failure)

    def median(self, of):
        values = [of(figures) for figures in self.figures]
        return None if not values or None in values else statistics.median(values)


def _ours(case, shape, settings, environment=()):
    return _run(
        OURS.binary,
        case,
        OURS.modes[case.mode],
        settings,
        ("--shape", shape, *case.arguments),
        (*case.environment, *environment),
    )


def _reason_missing(program, case, settings):
    refusal = program.refusal(case)
    if refusal is None and not program.binary.exists():
        refusal = settings.missing.get(program.binary.name, "was not built")
    return refusal


def _allocations(case, shape, settings):
    """Counts allocations in a separate run that is not timed."""
    if settings.counter is None:
        return None
    try:
        figures = _ours(case, shape, settings, (("LD_PRELOAD", settings.counter),))
    except ProgramFailed as failure:
        print(f"  {case.name}: allocations not counted: {failure}", file=sys.stderr)
        return None
    return figures["allocations_per_message"]


def _ratio(ours, other):
    """Returns the median ratio of figures from one round, so that changes of speed affect both."""
    return statistics.median(
        nanoseconds(a) / nanoseconds(b) for a, b in zip(ours.figures, other.figures)
    )


def _rounded(value, digits):
    return None if value is None else round(value, digits)


def measure(case, settings):
    """Runs one case and returns its entry for the results file."""
    asked = case
    case, impossible = asked.within_the_limit()
    if case is None:
        return _nothing(asked, impossible)
    ours = {
        shape: _Series(lambda shape=shape: _ours(case, shape, settings)) for shape in case.shapes
    }
    others, skipped = {}, {}
    for name in case.baselines:
        program = BASELINES[name]
        reason = _reason_missing(program, case, settings)
        if reason is not None:
            skipped[name] = reason
        else:
            mode = program.modes[case.mode]
            others[name] = _Series(
                lambda program=program, mode=mode: _run(program.binary, case, mode, settings)
            )

    # The library and the baselines run in turn, so that compared figures are close in time.
    series = [
        one
        for pair in zip_longest(ours.values(), others.values())
        for one in pair
        if one is not None
    ]
    for turn in range(settings.rounds * (case.repeats if settings.repeats else 1)):
        # Each round begins with a different program, so that occasional disturbances affect all
        # of them.
        for one in series[turn % len(series) :] + series[: turn % len(series)]:
            one.measure()
    return _result(case, asked, ours, others, skipped, settings)


def _nothing(case, reason):
    """Returns the entry of a case that cannot run."""
    return {
        "case": case.name,
        "ours_ns": None,
        "baselines": {},
        "ratios": {},
        "enters_per_msg": None,
        "hops_per_msg": None,
        "allocs_per_msg": None,
        "ours_shape": None,
        "shapes": {},
        "skipped": {OURS.name: reason, **{name: reason for name in case.baselines}},
        "group": case.group,
    }


def _result(case, asked, ours, others, skipped, settings):
    for shape, series in ours.items():
        if series.failure is not None:
            raise ProgramFailed(f"ours, {shape}: {series.failure}")
    times = {shape: series.median(nanoseconds) for shape, series in ours.items()}
    best = min(times, key=times.get)
    skipped |= {
        name: f"failed: {series.failure}"
        for name, series in others.items()
        if series.failure is not None
    }
    baselines = {
        name: series.median(nanoseconds)
        for name, series in others.items()
        if series.failure is None
    }
    allocations = {shape: _allocations(case, shape, settings) for shape in ours}

    result = {
        "case": case.name,
        "ours_ns": round(times[best], 1),
        "baselines": {name: round(value, 1) for name, value in baselines.items()},
        "ratios": {name: round(_ratio(ours[best], others[name]), 3) for name in baselines},
        "enters_per_msg": _rounded(
            ours[best].median(lambda figures: figures["enters_per_message"]), 4
        ),
        "hops_per_msg": _rounded(ours[best].median(lambda figures: figures["hops_per_message"]), 4),
        "allocs_per_msg": _rounded(allocations[best], 3),
        "ours_shape": best,
        "shapes": {
            shape: {"ns": round(times[shape], 1), "allocs_per_msg": _rounded(allocations[shape], 3)}
            for shape in ours
        },
        "skipped": skipped,
        "group": case.group,
    }
    if case != asked:
        result["pairs"] = case.pairs
    if case.mode == "idle":
        every = {
            OURS.name: min(ours.values(), key=_resident),
            **{name: others[name] for name in baselines},
        }
        result["resident_bytes"] = {
            name: _rounded(_resident(series), 0) for name, series in every.items()
        }
        result["task_bytes"] = _rounded(
            every[OURS.name].median(lambda figures: figures["resident_bytes_per_task"]), 0
        )
    return result


def _resident(series):
    return series.median(lambda figures: figures["resident_bytes_per_connection"])

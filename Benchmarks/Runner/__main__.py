# SPDX-License-Identifier: Apache-2.0
"""Measures the library and its baselines: `make bench`, or `python3 Benchmarks/Runner --help`."""

import argparse
import fnmatch
import json
import os
import re
import sys
import time
from pathlib import Path

import build
import codec
import machine
import plots
import run
import tables
import targets
from cases import CASES
from programs import REPOSITORY

RESULTS = REPOSITORY / ".build/bench.jsonl"
DOCUMENT = REPOSITORY / "Docs/Performance.md"
PLOTS = REPOSITORY / "Docs/Benchmarks"
BEGIN, END = "<!-- Written by `make bench`: begin -->", "<!-- Written by `make bench`: end -->"


def _arguments():
    parser = argparse.ArgumentParser(
        prog="make bench",
        description="Runs ours and the baselines in turn, several rounds, and takes the medians.",
        epilog=f"Results go to {RESULTS.relative_to(REPOSITORY)}, one line of JSON for each case, and as tables to standard output. A full run "
        "also writes the plots into Docs/Benchmarks and its tables into Docs/Performance.md; any other puts its plots beside the results.",
    )
    parser.add_argument("cases", nargs="*", help="names of cases, with * and ?; all by default")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="fewer cases and rounds: under a minute once everything is built",
    )
    parser.add_argument("--list", action="store_true", help="list the cases and end")
    parser.add_argument(
        "--rounds",
        type=int,
        help="how often each program runs each case; three times that where the first targets are decided, unless quick (default: 5; quick: 3)",
    )
    parser.add_argument("--seconds", type=float, help="measured time of a run (default: 0.06)")
    parser.add_argument("--no-build", action="store_true", help="measure what is built already")
    parser.add_argument("--keep-docs", action="store_true", help="leave Docs as it is")
    parser.add_argument(
        "--render",
        action="store_true",
        help="measure nothing: tables and plots from the last results",
    )
    return parser.parse_args()


def _chosen(arguments):
    """Returns the cases to run, and whether to measure encoding and decoding."""

    def matches(name):
        return not arguments.cases or any(
            fnmatch.fnmatchcase(name, pattern) for pattern in arguments.cases
        )

    cases = [
        case
        for case in CASES
        if matches(case.name) and (case.quick or not arguments.quick or arguments.cases)
    ]
    has_codec = any(matches(name) for name in codec.CASE_NAMES) and (
        not arguments.quick or bool(arguments.cases)
    )
    if not cases and not has_codec:
        sys.exit("no such case; --list names them all")
    return cases, has_codec


def _say(text):
    print(text, file=sys.stderr, flush=True)


def _measure(cases, has_codec, settings, write):
    results, failures = [], []
    start = time.monotonic()
    for number, case in enumerate(cases, 1):
        spent = time.monotonic() - start
        left = (
            f", about {spent / (number - 1) * (len(cases) - number + 1):.0f} s left"
            if number > 3
            else ""
        )
        _say(f"[{number}/{len(cases)}] {case.name} ({spent:.0f} s{left})")
        try:
            results.append(run.measure(case, settings))
            write(results[-1])
        except run.ProgramFailed as failure:
            _say(f"  FAILED: {failure}")
            failures.append(f"{case.name}: {failure}")
    if has_codec:
        _say("encoding and decoding")
        for result in codec.measure():
            results.append(result)
            write(result)
    return results, failures


def _rewrite_document(text):
    if not DOCUMENT.exists():
        return
    document = DOCUMENT.read_text()
    pattern = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    if pattern.search(document):
        DOCUMENT.write_text(pattern.sub(lambda _: f"{BEGIN}\n{text}\n{END}", document))


def _present(results, description, is_full):
    """Prints tables and writes plots. A full run writes both into the documentation."""
    folder = PLOTS if is_full else RESULTS.parent / "bench"
    drawn = plots.write_all(results, description, folder)
    verdicts = targets.table(results)
    body = tables.everything(results)
    if is_full:
        images = "\n".join(f"![{title}](Benchmarks/{name})" for name, title in drawn)
        _rewrite_document(
            "\n\n".join(
                [
                    f"Measured on {description[0]}; {description[1]}.",
                    "## Targets",
                    verdicts,
                    "## Plots",
                    images,
                    "## Results",
                    body,
                ]
            )
        )
    print(
        "\n".join(description)
        + "\n\nMicroseconds for each round trip of two messages, or else for each message, connection or cancelled "
        "receive;\nin parentheses ours divided by it. enters, hops and allocs are ours, for each message.\n"
    )
    print(body + (f"\n\n### Targets\n\n{verdicts}" if verdicts else ""))
    _say(f"results: {RESULTS.relative_to(REPOSITORY)}; plots: {folder.relative_to(REPOSITORY)}")


def main():
    arguments = _arguments()
    if arguments.list:
        print("\n".join([*[case.name for case in CASES], *codec.CASE_NAMES]))
        return
    is_full = not arguments.cases and not arguments.quick and not arguments.keep_docs
    if arguments.render:
        description, *results = [
            json.loads(line)
            for line in (RESULTS.parent / "bench/last.jsonl").read_text().splitlines()
        ]
        _present(results, description, is_full)
        return
    cases, has_codec = _chosen(arguments)
    missing, counter = ({}, None) if arguments.no_build else build.build()
    settings = run.Settings(
        rounds=arguments.rounds or (3 if arguments.quick else 5),
        repeats=not arguments.quick,
        seconds=arguments.seconds or 0.06,
        warmup=0.02 if arguments.quick else 0.05,
        missing=missing,
        counter=counter,
    )
    # The description names the measured code, so it must be read before the run.
    description = machine.describe()
    (RESULTS.parent / "bench").mkdir(parents=True, exist_ok=True)
    with open(RESULTS, "w") as file:

        def write(result):
            file.write(json.dumps(result) + "\n")
            file.flush()

        results, failures = _measure(cases, has_codec, settings, write)
    (RESULTS.parent / "bench/last.jsonl").write_text(
        "\n".join(json.dumps(line) for line in [description, *results]) + "\n"
    )
    _present(results, description, is_full)
    if failures:
        sys.exit("failed:\n" + "\n".join(failures))


main()

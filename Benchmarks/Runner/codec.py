# SPDX-License-Identifier: Apache-2.0
"""Runs codec-bench, which measures encoding and decoding and compares them with C by itself.

Its figures are converted to the form of the other results.
"""

import json
import subprocess

from programs import BENCHMARKS, CODEC_BASELINE

GROUP = "Encoding and decoding"
CASE_NAMES = [
    f"codec.{operation}.fd{count}"
    for count in (1, 253)
    for operation in ("encode", "decode", "decode-fresh")
]


def measure():
    output = subprocess.run(
        [str(BENCHMARKS / "Codec/.build/release/codec-bench")],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return [_result(json.loads(line)) for line in output.splitlines() if line.startswith("{")]


def _result(row):
    return {
        "case": f"codec.{row['operation']}.fd{row['descriptors']}",
        "ours_ns": row["swift_ns"],
        "baselines": {CODEC_BASELINE: row["c_ns"]},
        "ratios": {CODEC_BASELINE: round(row["swift_ns"] / row["c_ns"], 3)},
        "enters_per_msg": None,
        "hops_per_msg": None,
        "allocs_per_msg": None,
        "ours_shape": "codec",
        "shapes": {},
        "skipped": {},
        "group": GROUP,
    }

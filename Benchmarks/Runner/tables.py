# SPDX-License-Identifier: Apache-2.0
"""The results as aligned text tables that are also Markdown."""

from programs import BASELINES, CODEC_BASELINE, OURS

_ORDER = [CODEC_BASELINE, *BASELINES]


def render(rows):
    """Aligns rows below their heading. Only the first column is aligned to the left."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]

    def line(row):
        cells = [
            text.ljust(width) if column == 0 else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths))
        ]
        return f"| {' | '.join(cells)} |"

    rule = [
        ("-" * width) if column == 0 else "-" * (width - 1) + ":"
        for column, width in enumerate(widths)
    ]
    return "\n".join([line(rows[0]), f"| {' | '.join(rule)} |", *[line(row) for row in rows[1:]]])


def time(nanoseconds):
    """Formats short times in nanoseconds and others in microseconds."""
    if nanoseconds is None:
        return "–"
    return f"{nanoseconds:.1f} ns" if nanoseconds < 100 else f"{nanoseconds / 1000:.2f}"


def figure(value, digits):
    return "–" if value is None else f"{value:.{digits}f}"


def _name(result):
    """Returns the case's name, and its number of pairs if the descriptor limit reduced it."""
    return result["case"] + (f" ({result['pairs']:,} of them)" if "pairs" in result else "")


def _columns(results):
    named = {name for result in results for name in (*result["baselines"], *result["skipped"])}
    return [name for name in _ORDER if name in named]


def _cell(result, name):
    if name in result["baselines"]:
        return f"{time(result['baselines'][name])} ({result['ratios'][name]:.2f})"
    return "skipped" if name in result["skipped"] else ""


def _group(results):
    columns = _columns(results)
    rows = [["case", "ours", "by", "enters", "hops", "allocs", *columns]]
    for result in results:
        rows.append(
            [
                _name(result),
                time(result["ours_ns"]),
                result["ours_shape"] or "skipped",
                figure(result["enters_per_msg"], 3),
                figure(result["hops_per_msg"], 3),
                figure(result["allocs_per_msg"], 2),
                *[_cell(result, name) for name in columns],
            ]
        )
    return render(rows)


def _shapes(results):
    several = [result for result in results if len(result["shapes"]) > 1]
    names = list(dict.fromkeys(shape for result in several for shape in result["shapes"]))
    rows = [["case", *names]]
    for result in several:
        cells = []
        for name in names:
            shape = result["shapes"].get(name)
            cells.append(
                ""
                if shape is None
                else f"{time(shape['ns'])} ({figure(shape['allocs_per_msg'], 2)})"
            )
        rows.append([result["case"], *cells])
    return render(rows) if several else None


_TASK = "of which its task"


def _residents(results):
    measured = [result for result in results if "resident_bytes" in result]
    if not measured:
        return None
    columns = [
        OURS.name,
        _TASK,
        *[name for name in _ORDER if any(name in result["resident_bytes"] for result in measured)],
    ]
    rows = [["case", *columns]]
    rows += [
        [_name(result), *[figure(_resident(result, name), 0) for name in columns]]
        for result in measured
    ]
    return render(rows)


def _resident(result, column):
    return result["task_bytes"] if column == _TASK else result["resident_bytes"].get(column)


def _skips(results):
    cases, names = {}, {}
    for result in results:
        for name, reason in result["skipped"].items():
            cases.setdefault((name, reason), []).append(result["case"])
    # Programs that share a reason share a line.
    for (name, reason), where in cases.items():
        names.setdefault((reason, ", ".join(where)), []).append(name)
    return [f"- {', '.join(who)}: {reason} ({where})" for (reason, where), who in names.items()]


def everything(results):
    """Returns all tables as Markdown, one for each group."""
    parts = []
    for group in dict.fromkeys(result["group"] for result in results):
        parts += [
            f"### {group}",
            _group([result for result in results if result["group"] == group]),
        ]
    for title, table in [
        ("Ways to receive: time (allocations for each message)", _shapes(results)),
        ("Resident bytes of an idle connection", _residents(results)),
    ]:
        if table:
            parts += [f"### {title}", table]
    skips = _skips(results)
    if skips:
        parts += ["### Skipped", "\n".join(skips)]
    return "\n\n".join(parts)

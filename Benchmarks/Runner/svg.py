# SPDX-License-Identifier: Apache-2.0
"""Bar and line plots as small SVG files, readable on light and dark pages."""

import math
from html import escape

WIDTH, HEIGHT = 760, 400
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 74, 76

COLOURS = {
    "message_sockets": "#e8590c",
    "c_ring_single": "#1c7ed6",
    "c_ring_multishot": "#15aabf",
    "c_epoll": "#7950f2",
    "c_cmsg": "#1c7ed6",
    "tokio_current": "#868e96",
    "tokio_two_workers": "#868e96",
    "go": "#37b24d",
    "swift_nio": "#d6336c",
}

STYLE = """<style>
text { font: 12px system-ui, sans-serif; fill: #343a40 }
.title { font-size: 15px; font-weight: 600 }
.small { font-size: 10px; fill: #6c757d }
.value { font-size: 9px }
.grid { stroke: #adb5bd; stroke-opacity: .4 }
@media (prefers-color-scheme: dark) { text { fill: #e9ecef } .small { fill: #adb5bd } }
</style>"""


def _number(value):
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}".rstrip("0").rstrip(".")


def _step(top):
    """Returns a round distance of about a fifth of the axis."""
    magnitude = 10 ** math.floor(math.log10(top / 5))
    return next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= top / 5)


class _Plot:
    def __init__(self, title, unit, axis, series, description):
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">',
            STYLE,
            f'<text class="title" x="{LEFT}" y="22">{escape(title)}</text>',
            f'<text class="small" x="{LEFT}" y="{TOP - 8}">{escape(unit)}; less is better</text>',
        ]
        self._legend(series)
        for line, text in enumerate(description):
            self.text(LEFT, HEIGHT - 20 + 13 * line, text, "small")
        if axis:
            self.text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - BOTTOM + 34, axis, "small", "middle")

    def _legend(self, series):
        x = LEFT
        for name, (label, _) in series.items():
            self.parts.append(
                f'<rect x="{x}" y="34" width="10" height="10" rx="2" fill="{COLOURS[name]}"/>'
            )
            self.text(x + 14, 43, label, "small")
            x += 26 + 5.8 * len(label)

    def text(self, x, y, text, style="", anchor="start"):
        self.parts.append(
            f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(str(text))}</text>'
        )

    def grid(self, y, value):
        self.parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        self.text(LEFT - 6, y + 4, _number(value), "small", "end")

    def finish(self):
        return "\n".join([*self.parts, "</svg>", ""])


def _known(series):
    return [value for _, values in series.values() for value in values if value is not None]


def bars(title, unit, axis, positions, series, description):
    plot = _Plot(title, unit, axis, series, description)
    top = max(_known(series)) * 1.05
    height = HEIGHT - TOP - BOTTOM
    for index in range(int(top / _step(top)) + 1):
        plot.grid(HEIGHT - BOTTOM - index * _step(top) / top * height, index * _step(top))
    slot = (WIDTH - LEFT - RIGHT) / len(positions)
    width = min(slot * 0.84 / len(series), 60)
    for place, position in enumerate(positions):
        middle = LEFT + slot * (place + 0.5)
        plot.text(middle, HEIGHT - BOTTOM + 16, position, "", "middle")
        x = middle - width * len(series) / 2
        for name, (label, values) in series.items():
            value = values[place]
            if value is not None:
                size = max(value / top * height, 0.5)
                plot.parts.append(
                    f'<rect x="{x + 1:.1f}" y="{HEIGHT - BOTTOM - size:.1f}" width="{width - 2:.1f}" height="{size:.1f}" '
                    f'fill="{COLOURS[name]}"><title>{escape(label)}: {_number(value)}</title></rect>'
                )
                plot.text(
                    x + width / 2, HEIGHT - BOTTOM - size - 3, _number(value), "value", "middle"
                )
            x += width
    return plot.finish()


def lines(title, unit, axis, positions, series, description):
    """Draws a line plot. An axis whose values span more than a factor of ten is logarithmic.

    A position of 0 is drawn at 0.5.
    """
    plot = _Plot(title, unit, axis, series, description)
    across = _scale([max(position, 0.5) for position in positions], LEFT + 16, WIDTH - RIGHT - 16)
    known = _known(series)
    is_wide = max(known) > 10 * min(known)
    floor = min(known) / 1.3 if is_wide else 0
    up = _scale([floor, max(known) * 1.08], HEIGHT - BOTTOM, TOP, logarithmic=is_wide)
    for value in _ticks(floor, max(known) * 1.08, is_wide):
        plot.grid(up(value), value)
    for position in positions:
        plot.text(across(max(position, 0.5)), HEIGHT - BOTTOM + 16, f"{position:,}", "", "middle")
    for name, (label, values) in series.items():
        points = [
            (across(max(position, 0.5)), up(value), value)
            for position, value in zip(positions, values)
            if value is not None
        ]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in points)
        plot.parts.append(
            f'<polyline points="{path}" fill="none" stroke="{COLOURS[name]}" stroke-width="2"/>'
        )
        for x, y, value in points:
            plot.parts.append(
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{COLOURS[name]}"><title>{escape(label)}: {_number(value)}</title></circle>'
            )
    return plot.finish()


def _scale(values, low, high, logarithmic=None):
    first, last = min(values), max(values)
    if logarithmic is None:
        logarithmic = last > 3 * first > 0
    of = math.log if logarithmic else (lambda value: value)
    return lambda value: low + (of(value) - of(first)) / (of(last) - of(first)) * (high - low)


def _ticks(low, high, logarithmic):
    if not logarithmic:
        return [index * _step(high) for index in range(int(high / _step(high)) + 1)]
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [
        factor * 10**exponent
        for exponent in exponents
        for factor in (1, 2, 5)
        if low <= factor * 10**exponent <= high
    ]

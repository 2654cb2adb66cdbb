"""A bar chart in SVG of the cost of each server, on a logarithmic scale.

Its colours are readable on GitHub's light and dark backgrounds. It does not know what is measured.
"""

import math
from collections.abc import Mapping
from html import escape
from operator import itemgetter

WIDTH, LEFT, RIGHT, TOP, ROW = 900, 340, 80, 62, 30
# The contrast of these is at least 4 to both white and GitHub's dark #0d1117.
TEXT, OURS, OTHERS, GRID = "#76808a", "#1f75d6", "#8c8c8c", "#76808a55"


def draw(cpu: Mapping[str, float], caption: str) -> str:
    """Draw CPU seconds by server, the lowest first, with the bars of null521 highlighted."""
    least = math.floor(math.log10(min(cpu.values()) * 1e3))
    most = math.ceil(math.log10(max(cpu.values()) * 1e3))
    bottom = TOP + ROW * len(cpu)
    captions = wrapped(caption, 145)
    height = bottom + 36 + 16 * len(captions)

    def x(milliseconds: float) -> float:
        share = (math.log10(milliseconds) - least) / (most - least)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def text(x: float, y: float, words: str, more: str = "") -> str:
        return f'<text x="{x:.0f}" y="{y:.0f}" {more}>{escape(words)}</text>'

    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'font-family="system-ui, sans-serif" font-size="14" fill="{TEXT}" role="img">',
        "<title>CPU time for each connection, by server</title>",
        text(LEFT, 22, "CPU time for each connection, in ms", 'font-size="16" font-weight="600"'),
    ]
    for power in range(least, most + 1):
        at = x(10**power)
        drawn.append(f'<path d="M{at:.1f} {TOP - 8}V{bottom}" stroke="{GRID}"/>')
        drawn.append(text(at, TOP - 14, f"{10.0**power:g}", 'text-anchor="middle" font-size="12"'))
    for number, (name, seconds) in enumerate(sorted(cpu.items(), key=itemgetter(1))):
        y, end = TOP + ROW * number, x(seconds * 1e3)
        ours = name.startswith("null521")
        bold = 'font-weight="600"' if ours else ""
        drawn += [
            text(LEFT - 10, y + 18, name, f'text-anchor="end" {bold}'),
            f'<rect x="{LEFT}" y="{y + 4}" width="{end - LEFT:.1f}" height="{ROW - 10}" rx="2" '
            f'fill="{OURS if ours else OTHERS}"/>',
            text(end + 8, y + 18, f"{seconds * 1e3:#.2g}".rstrip("."), bold),
        ]
    for number, line in enumerate(captions):
        drawn.append(text(12, bottom + 30 + 16 * number, line, 'font-size="12"'))
    return "\n".join([*drawn, "</svg>", ""])


def wrapped(words: str, width: int) -> list[str]:
    """Break the words into lines of at most that width, at their commas."""
    lines = [""]
    for part in words.split(", "):
        if len(lines[-1]) + len(part) > width:
            lines.append("")
        lines[-1] += part + ", "
    return [line.rstrip() for line in lines[:-1]] + [lines[-1].removesuffix(", ")]

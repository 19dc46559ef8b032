"""Draws how long a booking takes, beside the defaults: the picture of `benchmarks/README.md`."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.measure import Series, Spread, p50, p99

CHART = Path(__file__).with_name("latency.svg")

SECTION = "b"
"""The section whose series it shows."""

COLOURS = {"p50": "#1f6feb", "p99": "#a5c8ff"}

NAMES = {"project": "this project", "defaults": "dev server and worker\nas in the tutorial"}


def draw(series: Sequence[Series], file: Path = CHART) -> None:
    """Draw the latency of each series as a picture in `file`: medians, and the range of the p50."""
    sizes = sorted({each.at_once for each in series})
    # Texts stay texts, and the same figures make the same file.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "latency"}):
        figure = Figure(figsize=(8, 1.8 * len(sizes)), layout="constrained", facecolor="white")
        for axes, size in zip(figure.subplots(len(sizes), squeeze=False)[:, 0], sizes, strict=True):
            _bars(axes, [each for each in series if each.at_once == size])
            axes.set_title("one at a time" if size == 1 else f"{size} at once", loc="left")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower right", ncols=2)
        figure.savefig(file, metadata={"Date": None})


def _bars(axes: Axes, series: Sequence[Series]) -> None:
    """Draw a bar for each series, the first one on top."""
    names = [NAMES.get(each.setup, each.setup) for each in series][::-1]
    for label, measure in (("p99", p99), ("p50", p50)):
        spreads = [Spread.of(each.values(measure)) for each in series][::-1]
        medians = [spread.median for spread in spreads]
        bars = axes.barh(names, medians, 0.7, color=COLOURS[label], label=label)
        if label == "p99":
            axes.bar_label(bars, [f"{each:,.0f}" for each in medians], padding=4)
        else:
            reach = [[each.median - each.low for each in spreads]]
            reach.append([each.high - each.median for each in spreads])
            axes.errorbar(medians, names, xerr=reach, fmt="none", ecolor="#0b2e66", capsize=3)
            inside = [f"{each:,.0f} " for each in medians]
            axes.bar_label(bars, inside, label_type="center", color="white")
    axes.set_xlabel("ms until the answer")
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.12)

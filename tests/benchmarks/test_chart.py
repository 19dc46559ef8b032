"""The picture of the latencies, from given figures."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.measure import Sample, Series

pytest.importorskip("matplotlib", reason="matplotlib, which requirements/dev.txt has, is missing")

from benchmarks.chart import draw


def series(setup: str, at_once: int, *latencies: tuple[float, float]) -> Series:
    samples = [Sample(1.0, p50, p99, {}, {}, 0.0) for p50, p99 in latencies]
    return Series(setup, at_once, samples)


def test_the_picture_shows_the_medians_and_is_the_same_for_the_same_figures(tmp_path: Path) -> None:
    measured = [
        series("project", 1, (55, 80), (58, 82), (61, 91)),
        series("defaults", 1, (199, 204), (200, 205), (203, 206)),
        series("project", 100, (2_750, 3_790), (2_800, 3_800), (2_900, 3_950)),
        series("defaults", 100, (1_890, 6_900), (1_900, 7_000), (1_950, 7_100)),
    ]
    one, other = tmp_path / "one.svg", tmp_path / "other.svg"
    draw(measured, one)
    draw(measured, other)
    assert one.read_bytes() == other.read_bytes()
    texts = ["".join(each.itertext()).strip() for each in ElementTree.parse(one).iter()]
    shown = {"58", "82", "200", "205", "2,800", "3,800", "1,900", "7,000"}
    assert {"one at a time", "100 at once", "ms until the answer", *shown} <= {*texts}

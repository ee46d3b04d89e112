"""The bars and the page of the accuracy benchmark, from rows made up for it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.benchmarks.bars import BARS, NOT_MEASURED, Row, verdicts
from tests.benchmarks.judging import CASES
from tests.benchmarks.page import Results, page
from tests.benchmarks.plan import BLOCKS

FLOAT = Row("lstr-culane", "openvino", "float32", {"f1": 1.0, "lateral_px": 0.0}, recall=0.900, speedup=1.0)
NNCF = replace(FLOAT, tool="nncf", figures={"f1": 0.98, "lateral_px": 5.0}, speedup=2.0, seconds=4.0)
QUICK = Row(
    "lstr-culane", "openvino", "edgekit-quick", {"f1": 0.998, "lateral_px": 1.2}, 0.891, 1.9, 3.0, 6.0, 2048.0, 0.95
)
STANDARD = replace(QUICK, tool="edgekit-standard", figures={"f1": 0.99799, "lateral_px": 1.20001}, seconds=241.0)


def told(*rows: Row) -> dict[str, tuple[str, ...]]:
    """Verdicts on both efforts by bar."""
    return {bar: verdict[1:] for _, _, bar, verdict in verdicts(rows)}


def test_a_value_at_the_limit_reaches_it_and_one_beside_it_does_not_however_it_is_rounded() -> None:
    found = told(FLOAT, NNCF, QUICK, STANDARD)
    assert found["F1 >= 0.998"] == ("0.9980 reached", "0.9980 **not reached**")
    assert found["shift in px <= 1.2"] == ("1.200 reached", "1.200 **not reached**")


def test_bars_on_other_rows_compare_with_these() -> None:
    found = told(FLOAT, NNCF, QUICK, replace(STANDARD, speedup=1.89, recall=0.911))
    assert found["speed, of NNCF's >= 0.95"] == ("0.950 reached", "0.945 **not reached**")
    assert found["recall, points from float32 <= 1"] == ("0.90 reached", "1.10 **not reached**")
    assert found["quantizing time, of NNCF's <= 1.5"] == ("1.50 reached", "-")
    assert found["quantizing time in s <= 240"] == ("-", "241 **not reached**")


def test_half_precision_is_told_beside_where_a_bar_is_about_lanes() -> None:
    half = replace(FLOAT, tool="bf16", figures={"f1": 0.997, "lateral_px": 0.5}, recall=0.9, speedup=1.7)
    found = {bar: verdict[0] for _, _, bar, verdict in verdicts([FLOAT, half, QUICK])}
    assert found["F1 >= 0.998"] == "0.9970 **not reached**"
    assert found["shift in px <= 1.2"] == "0.500 reached"
    assert found["speed, of NNCF's >= 0.95"] == "-"
    assert {verdict[0] for *_, verdict in verdicts([FLOAT, QUICK])} == {"-"}


def test_what_is_missing_is_not_called_reached() -> None:
    found = told(FLOAT, replace(QUICK, figures={}, speedup=None, refused="no"))
    assert found["F1 >= 0.998"] == (NOT_MEASURED, NOT_MEASURED)
    assert found["speed, of NNCF's >= 0.95"] == (NOT_MEASURED, NOT_MEASURED)
    assert verdicts([]) == []


def test_every_bar_belongs_to_rows_that_are_measured() -> None:
    blocks = {block.name: block for block in BLOCKS}
    assert {model for _, model in BARS} == {case.model for case in CASES}
    for engine, _ in BARS:
        assert {"float32", "edgekit-quick", "edgekit-standard"} <= set(blocks[engine].tools)
    assert "nncf" in blocks["openvino"].tools


@pytest.mark.parametrize(("halves", "text"), [(1, "the rest checks.\n"), (2, "then the other way round")])
def test_the_page_shows_every_row_with_as_many_cells_as_its_header(halves: int, text: str) -> None:
    about = {"date": "2026-01-01", "cpu": "some CPU", "threads": 1, "noise": 0.012, "versions": {"numpy": "2.0"}}
    masks = Row("twinlitenet-bdd100k", "jetson-orin", "edgekit-quick", {"iou_lane": 0.9512}, macs_share=0.91)
    refused = Row("lstr-culane", "openvino", "quantize_static", refused="openvino refuses: a | b")
    written = page(Results({"halves": halves}, about, [FLOAT, NNCF, QUICK, refused, masks]))
    assert text in written
    assert "1.2 %" in written
    assert "openvino refuses: a / b" in written
    assert "lane 0.951" in written
    for section in ("## lstr-culane", "## twinlitenet-bdd100k"):
        lines = written.split(section)[1].split("\n\n")[1].splitlines()
        assert len({line.count("|") for line in lines}) == 1

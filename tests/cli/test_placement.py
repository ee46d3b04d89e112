from __future__ import annotations

import pytest

from edgekit.cli.placement import placement_text
from edgekit.placements import PlacementRow, PlacementTable, Times, Whole


def times(float_us: float, int8_us: float) -> Times:
    ratio = float_us / int8_us
    return Times(float_us=float_us, int8_us=int8_us, speedup=ratio, low=0.98 * ratio, high=1.02 * ratio)


def row(name: str, precision: str, *nodes: str) -> PlacementRow:
    fast = precision == "int8"
    return PlacementRow(
        group=name,
        nodes=nodes,
        precision=precision,
        origin="measured",
        times=times(1300.0, 1000.0) if fast else times(1000.0, 1300.0),
        why="8 bit is not slower" if fast else "8 bit is slower",
    )


@pytest.fixture
def measured() -> PlacementTable:
    return PlacementTable(
        origin="measured",
        engine="onnxruntime 1.32.0",
        threads=1,
        seconds=12.5,
        macs_share=0.75,
        whole=Whole(rules=times(1500.0, 1800.0), placed=times(1500.0, 1000.0), bf16=None),
        rows=(
            row("/encoder/stage_one/of_a_long_name/convolution_1/conv", "fp32", "a", "b"),
            row("/encoder/two", "int8", "c", "d", "e"),
        ),
    )


def test_shows_the_whole_model_and_what_stays_in_floating_point(measured: PlacementTable) -> None:
    text = placement_text(measured)
    assert "0.83" in text and "1.50" in text
    assert "name/convolution_1/conv (2)" in text and "/encoder/two" not in text
    assert "3 layers with 75.0% of the multiplications are in 8 bit" in text
    assert "measured with onnxruntime 1.32.0, 1 thread, in 12.5 s" in text


def test_fits_into_100_columns(measured: PlacementTable) -> None:
    assert max(map(len, placement_text(measured).splitlines())) <= 100


def test_an_interrupted_search_is_told(measured: PlacementTable) -> None:
    assert "the time was up" in placement_text(measured.model_copy(update={"complete": False}))


def test_what_was_not_timed_is_told_by_its_reason_once(measured: PlacementTable) -> None:
    why = "kept: the target's rules leave MatMul as it is"
    untimed = [row(f"/{name}", "fp32", name).model_copy(update={"times": None, "why": why}) for name in "fgh"]
    text = placement_text(measured.model_copy(update={"rows": (*measured.rows, *untimed)}))
    assert "3 layers are in fp32: the target's rules leave MatMul as it is" in text.splitlines()
    assert "kept:" not in text
    assert max(map(len, text.splitlines())) <= 100


def test_rules_alone_are_called_estimated(measured: PlacementTable) -> None:
    rules = PlacementTable(origin="estimated", macs_share=1.0, rows=())
    assert placement_text(rules) == (
        "0 layers with 100.0% of the multiplications are in 8 bit\nestimated, by the target's rules"
    )

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import UsageError
from edgekit.profiling.bootstrap import Interval
from edgekit.profiling.compare import PARTS, Change, Comparison, Figure
from edgekit.profiling.conditions import FIGURES, MODELS, Condition, failures, parse_conditions
from edgekit.profiling.latency import PERCENTILES

SLOWER = Change("int8", "end_to_end", "p99", 30.0, 36.0, 0.2, Interval(0.15, 0.25), 0.02, "slower")
RSS = Figure("int8", "rss", "bytes", 100e6, 104e6, 0.02)
SHIFT = Figure("int8", "lateral_px", "px", 1.0, 1.5)
COMPARISON = Comparison(("a", "b"), (), (), (SLOWER,), (RSS, SHIFT))

blank = st.sampled_from(["", " ", "  "])
signs, operators = st.sampled_from(["", "+", "-"]), st.sampled_from([">", ">=", "<", "<="])
numbers = st.decimals(0, 1000, places=2, allow_nan=False, allow_infinity=False)


@given(
    st.sampled_from(["", "int8.", "fp."]),
    st.sampled_from(["", *(f"{part}." for part in PARTS)]),
    st.sampled_from([*PERCENTILES]),
    operators,
    signs,
    numbers,
    st.sampled_from([("us", 1e-3), ("ms", 1.0), ("s", 1e3)]),
    blank,
)
def test_every_latency_condition_is_read(
    model: str, part: str, figure: str, operator: str, sign: str, number: object, unit: tuple[str, float], space: str
) -> None:
    (found,) = parse_conditions(f"{space}{model}{part}{figure}{space}{operator}{space}{sign}{number}{unit[0]}{space}")
    assert found.model == (model.strip(".") or "int8")
    assert found.part == (part.strip(".") or "end_to_end")
    assert found.figure == figure
    assert (found.above, found.inclusive, found.relative) == (operator[0] == ">", len(operator) == 2, bool(sign))
    assert found.value == pytest.approx((-1 if sign == "-" else 1) * float(str(number)) * unit[1])


@given(st.text(max_size=30))
def test_what_is_not_understood_is_a_usage_error(text: str) -> None:
    try:
        assert all(isinstance(each, Condition) for each in parse_conditions(text))
    except UsageError as error:
        assert "is not understood" in error.problem


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("p9>33ms", "Did you mean 'p9"),
        ("latral>2px", "Did you mean 'lateral'"),
        ("engin.p99>3ms", "Did you mean 'engine'"),
        ("p99>33", "The unit is missing: us, ms, s, %"),
        ("p99>33px", "The unit is 'px'; known here: us, ms, s, %"),
        ("rss>5%", r"has a sign: rss>\+5%"),
        ("p99=33ms", "It is no condition"),
        ("", "It is no condition"),
        ("p99>33ms,,rss>1MB", "It is no condition"),
    ],
)
def test_a_mistake_is_explained(text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        parse_conditions(text)


@pytest.mark.parametrize("figure", FIGURES)
@pytest.mark.parametrize("model", MODELS)
def test_every_figure_of_a_model_is_known(figure: str, model: str) -> None:
    (found,) = parse_conditions(f"{model}.{figure}>+5%")
    assert (found.model, found.part, found.share, found.value) == (model, "", True, 0.05)


@pytest.mark.parametrize(
    ("text", "failed"),
    [
        ("p99>35ms", True),
        ("p99>36ms", False),
        ("p99>=36ms", True),
        ("p99<0.036s", False),
        ("p99>+15%", True),
        ("p99>+25%", False),
        ("p99>+5ms", True),
        ("p99>+7ms", False),
        ("rss>+3%", True),
        ("rss>+5%", False),
        ("rss>103MB", True),
        ("lateral>+0.4px", True),
        ("lateral>2px", False),
    ],
)
def test_conditions_on_known_figures(text: str, failed: bool) -> None:
    assert bool(failures(parse_conditions(text), COMPARISON)) == failed


@pytest.mark.parametrize("text", ["p50>1000ms", "fp.p99>1000ms", "f1<0.5", "wait.p50>1s", "iou_lane<0.1"])
def test_what_nobody_knows_fails(text: str) -> None:
    (failure,) = failures(parse_conditions(text), COMPARISON)
    assert failure.found.startswith("not known")


def test_a_change_within_noise_does_not_fail() -> None:
    quiet = replace(COMPARISON, changes=(replace(SLOWER, verdict="no difference"),))
    assert not failures(parse_conditions("p99>+5%"), quiet)
    assert failures(parse_conditions("p99>35ms"), quiet)

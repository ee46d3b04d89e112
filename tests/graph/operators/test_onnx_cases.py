"""Every operator against ONNX's own node tests."""

from __future__ import annotations

from collections import Counter, defaultdict
from fnmatch import fnmatch
from typing import Any

import numpy as np
import pytest

from edgekit.errors import EdgekitError
from edgekit.graph.execute import TorchGraph
from edgekit.graph.operators import OPERATORS
from edgekit.graph.operators.dtypes import to_tensor
from tests.graph.operators.onnx_cases import SKIPPED, Case, all_cases, reason_to_skip, runnable

NO_CASE = {
    "Constant": "no activation",
    "ConstantOfShape": "no activation",
    "Range": "no activation",
    "GlobalLpPool": "ONNX has no test of it",
}
"""Operators that no case of their own covers."""

COMPOSITE = "composite"


@pytest.fixture(scope="module")
def collected() -> list[Any]:
    return all_cases()


@pytest.fixture(scope="module")
def cases(collected: list[Any]) -> dict[str, list[Case]]:
    """Runnable cases by their one operator; those of several operators under COMPOSITE."""
    by_operator: dict[str, list[Case]] = defaultdict(list)
    for one in collected:
        if reason_to_skip(one):
            continue
        for case in runnable(one):
            operators = case.operators
            by_operator[operators.pop() if len(operators) == 1 else COMPOSITE].append(case)
    return by_operator


def failure(case: Case) -> str:
    """Run a case; returns what is wrong with it, or nothing."""
    try:
        results = TorchGraph(case.model)(to_tensor(case.value))
        for name, expected in case.expected.items():
            result = results[name].double().numpy()
            assert result.shape == expected.shape, f"shape {result.shape} instead of {expected.shape}"
            np.testing.assert_allclose(result, expected.astype(np.float64), case.rtol, case.atol)
    except (AssertionError, EdgekitError) as error:
        return f"{case.name}: {error}"
    return ""


@pytest.mark.parametrize("operator", [*sorted(set(OPERATORS) - set(NO_CASE)), COMPOSITE])
def test_results_are_those_that_onnx_expects(operator: str, cases: dict[str, list[Case]]) -> None:
    assert cases[operator]
    failures = [found for case in cases[operator] if (found := failure(case))]
    assert not failures, "\n\n".join(failures)


def test_what_is_left_out_is_listed_and_nothing_else(collected: list[Any]) -> None:
    reasons = Counter(reason_to_skip(case) for case in collected)
    print(*(f"{count:5} {reason or 'run'}" for reason, count in reasons.most_common()), sep="\n")
    assert reasons[""] > 1000
    unused = [pattern for pattern in SKIPPED if not any(fnmatch(case.name, pattern) for case in collected)]
    assert not unused

from __future__ import annotations

import inspect
import re

import pytest

from edgekit import errors
from edgekit.errors import EdgekitError, GateError, ModelError, TargetError, UsageError

LEAVES = [
    value
    for value in vars(errors).values()
    if inspect.isclass(value) and issubclass(value, EdgekitError) and value is not EdgekitError
]


def test_an_error_says_problem_evidence_and_remedy() -> None:
    error = UsageError(problem="It does not fit.", found="3 of 4", fix="Take the other one.")
    assert str(error) == "It does not fit.\n  found: 3 of 4\n  fix:   Take the other one."


def test_what_is_not_known_is_left_out() -> None:
    assert str(ModelError(problem="It is damaged.")) == "It is damaged."
    assert str(ModelError(problem="It is damaged.", fix="Export it again.")) == (
        "It is damaged.\n  fix:   Export it again."
    )


def test_the_parts_can_be_read_one_by_one() -> None:
    error = TargetError(problem="No board.", found="nothing on port 22")
    assert (error.problem, error.found, error.fix) == ("No board.", "nothing on port 22", "")


@pytest.mark.parametrize("leaf", [EdgekitError, *LEAVES], ids=lambda leaf: leaf.__name__)
def test_the_exit_code_is_the_one_in_the_documented_tree(leaf: type[EdgekitError]) -> None:
    drawn = re.search(rf"{leaf.__name__} +(\d)  ", errors.__doc__ or "")
    assert drawn is not None, f"{leaf.__name__} is not in the tree of edgekit/errors.py"
    assert leaf.exit_code == int(drawn[1])


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: leaf.__name__)
def test_every_error_has_one_sentence_of_its_own(leaf: type[EdgekitError]) -> None:
    assert leaf.__doc__ is not None
    assert leaf.__doc__ != EdgekitError.__doc__


def test_causes_can_be_told_apart_by_the_exit_code() -> None:
    assert len({UsageError.exit_code, GateError.exit_code, TargetError.exit_code, ModelError.exit_code}) == 4
    assert 0 not in {leaf.exit_code for leaf in LEAVES}

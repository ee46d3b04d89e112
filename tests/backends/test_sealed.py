from __future__ import annotations

import json

import pytest

from edgekit.backends.sealed import sealed, unsealed
from edgekit.errors import ArtifactError

FILES = {"model.onnx": b"model", "engine": b"engine"}
MEMBERS = {**FILES, "build.json": sealed({"engine": "one", "version": "1"}, FILES)}


def test_a_record_comes_back_with_the_digests_of_what_lies_beside_it() -> None:
    record = unsealed("one", "build.json", MEMBERS)
    assert record["version"] == "1"
    assert set(record["sha256"]) == set(FILES)


def test_the_order_of_members_makes_no_other_bytes() -> None:
    assert sealed({"engine": "one"}, dict(reversed(FILES.items()))) == sealed({"engine": "one"}, FILES)


@pytest.mark.parametrize(
    "change",
    [
        {"engine": b"enginf"},
        {"more": b""},
        {"build.json": MEMBERS["build.json"][:-5]},
        {"build.json": b"[]"},
        {"build.json": json.dumps({"engine": "one"}).encode()},
    ],
    ids=["changed", "added", "cut", "no record", "no digests"],
)
def test_what_was_damaged_is_refused_with_the_names_of_what_is_there(change: dict[str, bytes]) -> None:
    with pytest.raises(ArtifactError) as refusal:
        unsealed("one", "build.json", {**MEMBERS, **change})
    assert "model.onnx" in refusal.value.found


@pytest.mark.parametrize("missing", MEMBERS)
def test_what_is_not_whole_is_refused(missing: str) -> None:
    with pytest.raises(ArtifactError):
        unsealed("one", "build.json", {name: data for name, data in MEMBERS.items() if name != missing})


def test_another_engines_record_is_refused() -> None:
    with pytest.raises(ArtifactError, match="two cannot load"):
        unsealed("two", "build.json", MEMBERS)

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from edgekit.errors import ArtifactError, UsageError
from edgekit.schema import Strict, parse, read_toml


class Round(Strict):
    kind: Literal["round"]
    radius: float = Field(gt=0)


class Square(Strict):
    kind: Literal["square"]
    width: int
    corners: tuple[float, ...] = ()


Shape = Annotated[Round | Square, Field(discriminator="kind")]


class Label(Strict):
    text: str = ""


class Drawing(Strict):
    title: str
    shape: Shape
    parts: tuple[Shape, ...] = ()
    label: Label = Label()
    # One of these may be called `text`, like a key of its own.
    labels: dict[str, Label] = Field(default_factory=dict)


CIRCLE = {"kind": "round", "radius": 1.0}
DRAWING = {"title": "a circle", "shape": CIRCLE}


def refusal(data: Any) -> UsageError:
    with pytest.raises(UsageError) as raised:
        parse(Drawing, data, "drawing.toml")
    return raised.value


def test_valid_data_becomes_frozen() -> None:
    drawing = parse(Drawing, DRAWING, "drawing.toml")
    assert drawing.shape == Round(kind="round", radius=1.0)
    with pytest.raises(ValidationError):
        drawing.title = "another"


@pytest.mark.parametrize(
    ("extra", "key", "known"),
    [
        ({"titel": 1}, "titel", "label, labels, parts, shape, title"),
        ({"label": {"txt": ""}}, "label.txt", "text"),
        ({"labels": {"first": {"txt": ""}}}, "labels.first.txt", "text"),
        ({"labels": {"text": {"txt": ""}}}, "labels.text.txt", "text"),
        ({"shape": {**CIRCLE, "radus": 1}}, "shape.radus", "kind, radius"),
        ({"parts": [CIRCLE, {"kind": "square", "width": 1, "widht": 1}]}, "parts[1].widht", "corners, kind, width"),
    ],
    ids=["top level", "nested", "table of tables", "table named like a key", "union", "list of unions"],
)
def test_an_unknown_key_names_file_key_and_known_keys(extra: dict[str, Any], key: str, known: str) -> None:
    error = refusal(DRAWING | extra)
    assert error.problem == f"drawing.toml: unknown key '{key}'."
    assert error.found == f"Known keys here: {known}."
    assert "Remove the key or correct its name." in error.fix


def test_a_misspelt_key_suggests_the_right_one_even_where_that_is_required() -> None:
    error = refusal({"titel": "a circle", "shape": CIRCLE})
    assert error.problem == "drawing.toml: unknown key 'titel'."
    assert error.fix.startswith("Did you mean 'title'?")


@pytest.mark.parametrize(
    ("data", "key"),
    [
        ({"shape": CIRCLE}, "title"),
        ({"title": "", "shape": {"kind": "round"}}, "shape.radius"),
        ({"title": "", "shape": {"radius": 1.0}}, "shape.kind"),
        (DRAWING | {"parts": [{"kind": "square"}]}, "parts[0].width"),
    ],
)
def test_a_missing_key_is_named(data: dict[str, Any], key: str) -> None:
    error = refusal(data)
    assert error.problem == f"drawing.toml: key '{key}' is missing."
    assert error.fix == f"Add '{key}'."


@pytest.mark.parametrize(
    ("data", "key", "expected"),
    [
        (DRAWING | {"shape": {"kind": "round", "radius": -1.0}}, "shape.radius", "greater than 0"),
        (DRAWING | {"label": 3}, "label", "valid dictionary"),
        (DRAWING | {"shape": {"kind": "oval"}}, "shape", "'round', 'square'"),
        (DRAWING | {"parts": [{"kind": "square", "width": 1, "corners": [0, "x"]}]}, "parts[0].corners[1]", "number"),
    ],
)
def test_a_bad_value_is_named_with_what_is_expected(data: dict[str, Any], key: str, expected: str) -> None:
    error = refusal(data)
    assert error.problem.startswith(f"drawing.toml: key '{key}' is not valid: ")
    assert expected in error.problem
    assert error.fix == f"Correct '{key}'."


def test_what_was_found_is_shown_but_not_at_any_length() -> None:
    assert refusal(DRAWING | {"label": 3}).found == "3"
    assert len(refusal(DRAWING | {"label": "x" * 10_000}).found) < 200


def test_the_caller_chooses_the_class_of_the_error() -> None:
    with pytest.raises(ArtifactError, match=r"scales\.json: key 'title' is missing"):
        parse(Drawing, {"shape": CIRCLE}, "scales.json", ArtifactError)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["shape", "kind", "parts"]), inner),
)


@given(JSON)
def test_no_input_escapes_as_another_error(data: Any) -> None:
    try:
        parse(Drawing, data, "drawing.toml")
    except UsageError as error:
        assert error.problem.startswith("drawing.toml: ")


def test_toml_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('title = "höher"\n[shape]\nkind = "round"\n', encoding="utf-8")
    assert read_toml(path) == {"title": "höher", "shape": {"kind": "round"}}


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b'title = "a"\nshape round\n', "line 2"),
        (b"a = 1\na = 2\n", "line 2"),
        (b"\xff\xfe", "utf-8"),
    ],
    ids=["syntax", "key twice", "not text"],
)
def test_a_file_that_is_not_toml_names_the_place(tmp_path: Path, content: bytes, found: str) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(content)
    with pytest.raises(UsageError) as raised:
        read_toml(path)
    assert raised.value.problem == f"{path} is not valid TOML."
    assert found in raised.value.found


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"missing\.toml cannot be read\.\n  found: No such file"):
        read_toml(tmp_path / "missing.toml")
    with pytest.raises(UsageError, match=r"cannot be read\.\n  found: Is a directory"):
        read_toml(tmp_path)

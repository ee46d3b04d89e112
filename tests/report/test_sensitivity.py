from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from edgekit.errors import ArtifactError
from edgekit.report.sensitivity import draw_sensitivity, sensitivity_png

BLUE, ORANGE, SKY, LIGHT = (178, 114, 0), (0, 94, 213), (233, 180, 86), (214, 168, 105)


def unit(name: str, only: float, nodes: int = 1, without: float | None = 1.0) -> dict[str, Any]:
    names = [f"{name}/conv{i}" for i in range(nodes)] if nodes > 1 else [name]
    return {
        "name": name,
        "nodes": names,
        "macs_share": 0.25,
        "only": only,
        "only_expected": only,
        "without": without,
        "without_expected": without,
        "frames": 8,
    }


def data(**changes: Any) -> dict[str, Any]:
    heads = [{"name": "cls", "role": "confidence", "distortion": 2.0, "foreground": 1.5, "background": 0.5}]
    result: dict[str, Any] = {
        "schema_version": 2,
        "precision": "8 bit",
        "unit": "px",
        "frames": ["a", "b"],
        "everything": 2.5,
        "heads": heads,
        "groups": [unit("stem", 4.0), unit("body", 1.0, nodes=2)],
        "layers": [unit("body/conv0", 0.5), unit("body/conv1", 0.1, without=None)],
        "models": 5,
        "runs": 40,
    }
    return result | changes


def bars(picture: np.ndarray, color: tuple[int, int, int]) -> list[int]:
    """Return the lengths in px of all bars of a colour, from the top; the squares of the legend are shorter."""
    mask = (picture == color).all(axis=2)
    # A bar ends in a column of mixed colours where the picture was shrunk.
    lengths: list[int] = []
    inside = False
    for row in mask:
        length = int(row.sum())
        if length > 14 and not inside:
            lengths.append(length)
        inside = length > 14
    return lengths


def test_bars_are_as_long_as_their_values() -> None:
    picture = draw_sensitivity(data(), "net for board")
    head, stem, body = bars(picture, BLUE)
    assert head == pytest.approx(stem / 2, abs=2)
    assert body == pytest.approx(stem / 4, abs=2)
    assert bars(picture, ORANGE) == [pytest.approx(stem * 1.5 / 4, abs=2)]
    assert bars(picture, SKY) == [pytest.approx(stem * 0.5 / 4, abs=2)]
    assert bars(picture, LIGHT) == [pytest.approx(stem * 0.5 / 4, abs=2)]


def test_harmless_layers_share_one_bar() -> None:
    many = [unit(f"body/conv{i}", 0.1, without=None) for i in range(2)]
    told = draw_sensitivity(data(), "net")
    summed = draw_sensitivity(data(layers=many), "net")
    none = draw_sensitivity(data(layers=[]), "net")
    assert none.shape[0] < summed.shape[0] < told.shape[0]


@pytest.mark.parametrize("values", [(0.0, 0.0), (1e-6, 3e-7), (123.0, 7.0)])
def test_any_magnitude_stays_on_the_page(values: tuple[float, float]) -> None:
    groups = [unit("a", values[0]), unit("b" * 200, values[1])]
    heads = [{"name": "x", "role": "output", "distortion": 0.0, "foreground": 0.0, "background": 0.0}]
    picture = draw_sensitivity(data(groups=groups, heads=heads, layers=[], unit=""), "net")
    assert picture.shape[1:] == (1200, 3)
    assert picture.dtype == np.uint8
    # Nothing runs into the margins.
    assert (picture[:, :20] == 255).all()
    assert (picture[:, -20:] == 255).all()


def test_a_network_of_which_nothing_is_quantized_is_drawn() -> None:
    picture = draw_sensitivity(data(groups=[], layers=[], heads=[]), "net")
    assert (picture < 255).any()


def test_the_png_holds_the_picture() -> None:
    decoded = cv2.imdecode(np.frombuffer(sensitivity_png(data(), "net"), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(decoded, draw_sensitivity(data(), "net"))


def test_another_schema_is_refused() -> None:
    with pytest.raises(ArtifactError, match="schema version 3"):
        draw_sensitivity(data(schema_version=3), "net")

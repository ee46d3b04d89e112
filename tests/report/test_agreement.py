from __future__ import annotations

from itertools import combinations
from typing import Any

import cv2
import numpy as np
import pytest

from edgekit.report.agreement import WIDTH, agreement_text, figure_cells, step_cells
from edgekit.report.heatmap import draw_heatmap, heatmap_png


def replay(engine: str, model: str, origin: str, same: int | None = None, disagreement: str | None = None) -> Any:
    return {
        "engine": engine,
        "model": model,
        "origin": origin,
        "same_model_in_onnxruntime": same,
        "disagreement": disagreement,
    }


def data(count: int = 4, figures: dict[str, float] | None = None, **changes: Any) -> dict[str, Any]:
    """Replays of which each lies its distance in places from the others; the third and fourth are the same."""
    replays = [
        replay("onnxruntime 1.32.0, x86_64", "floating point", "measured"),
        replay("onnxruntime 1.32.0, x86_64", "arm-cortex-a76", "measured"),
        replay("onnxruntime 1.32.0, cortex-a72", "arm-cortex-a76", "emulated", 1),
        *[replay("onnxruntime 1.32.0, cortex-a76", "arm-cortex-a76", "emulated", 1) for _ in range(count - 3)],
    ]
    distances = [
        {
            "between": [one, two],
            "origins": ["measured"],
            "figures": figures or {"f1": 1.0 - (two - one) / 100, "lateral_px": 0.5 * (two - one)},
            "largest_steps": {"cls": float(two - one), "offset": 0.001},
            "rms_steps": {"cls": 0.5, "offset": 0.0},
            "identical": 1.0 if (one, two) == (2, 3) else 0.25,
        }
        for one, two in combinations(range(count), 2)
    ]
    return {
        "source": "build/lane",
        "recipe": "lane-row-anchor",
        "target": "arm-cortex-a76",
        "frames": ["a.jpg", "b.jpg"],
        "steps": {"cls": {"size": 0.125, "source": "its own scale"}},
        "replays": replays,
        "absent": [{"engine": "qnn", "reason": "It is not installed."}],
        "distances": distances,
    } | changes


@pytest.mark.parametrize("count", [4, 8, 11])
@pytest.mark.parametrize("figures", [None, {"iou_drivable": 0.987, "iou_lane": 0.876}, {"sqnr_db": 31.5}, {}])
def test_the_page_fits(count: int, figures: dict[str, float] | None) -> None:
    text = agreement_text(data(count, figures))
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "…" not in text


def test_no_column_is_cut_off() -> None:
    told = data()
    for replay in told["replays"][1:]:
        replay["model"] = "jetson-agx-orin-dla-jp6"
    text = agreement_text(told)
    assert "equal" in text
    assert text.count("25.0 %") == 2


def test_the_page_says_where_every_replay_comes_from_and_what_is_not_here() -> None:
    text = agreement_text(data())
    assert "cortex-a72" in text
    assert text.count("emulated") == 2 + 2 * 2
    assert "qnn" in text
    assert "It is not installed." in text
    assert "cls 0.125 (its own scale)" in text


def test_figures_are_on_their_side_of_the_diagonal() -> None:
    rows = [line.split() for line in agreement_text(data()).splitlines()]
    first = rows.index(["1", "measured", "0.990", "0.980", "0.970"])
    assert rows[first + 1] == ["2", "measured", "0.50", "0.990", "0.980"]
    assert rows[first + 3] == ["4", "emulated", "1.50", "1.00", "="]


def test_an_engine_that_disagrees_is_marked() -> None:
    told = data()
    told["replays"][2]["disagreement"] = "cls differs"
    assert "DISAGREES" in agreement_text(told)
    assert "DISAGREES" not in agreement_text(data())


def test_what_is_not_zero_is_not_written_as_zero() -> None:
    cells = step_cells(data())
    assert cells.texts[0, 1] == "1.00"
    small = data()
    small["distances"][0]["largest_steps"] = {"cls": 0.004}
    assert step_cells(small).texts[0, 1] == "<0.01"


def test_shares_are_those_of_the_furthest() -> None:
    f1, lateral = figure_cells(data())
    assert (f1.title, lateral.title) == ("F1", "Lateral shift in px")
    assert lateral.share((0, 3)) == 1.0
    assert 0.0 < lateral.share((0, 1)) < lateral.share((0, 2)) < 1.0


def test_the_picture_darkens_with_distance_and_holds_a_panel_for_each_figure() -> None:
    picture = draw_heatmap(data(), "lane for arm-cortex-a76")
    assert picture.shape == (96 + 3 * (72 + 4 * 30), 1200, 3)
    # In the first panel, at the left edges of the cells of the first row: itself, then ever further away.
    row = picture[96 + 48 + 4, :, :].astype(int).sum(axis=1)
    cells = [row[36 + 420 + column * 90 + 4] for column in range(4)]
    assert cells[0] > cells[1] > cells[2] > cells[3]


def test_the_file_is_a_png_of_the_same_picture() -> None:
    decoded = cv2.imdecode(np.frombuffer(heatmap_png(data(), "lane"), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(decoded, draw_heatmap(data(), "lane"))

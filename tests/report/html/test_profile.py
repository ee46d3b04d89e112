from __future__ import annotations

import copy
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgekit
from edgekit.errors import ArtifactError, OutputError
from edgekit.graph.clean import clean
from edgekit.profiling.estimate import estimate_model
from edgekit.profiling.samples import encode, read_samples
from edgekit.targets import load_target
from tests.graph.models import batchnorm_net
from tests.report.html.browser import CHROMIUM, look
from tests.report.test_table import profiled

ROUNDS, CALLS = 40, 20
VOID = {"meta", "link", "img", "br"}


def profile(runs: int = CALLS) -> dict[str, Any]:
    """A profile with all that a page can show: a deadline, layers, memory over runs, findings."""
    found = copy.deepcopy(profiled(rounds=ROUNDS, calls=runs))
    started = np.arange(ROUNDS * runs, dtype=np.int64).reshape(ROUNDS, runs) * 10_000_000
    for row in found["rows"]:
        row["samples"]["work"]["frame"]["started"] = encode(started)
        row["deadline"] = {"rate": 0.01, "missed": 8, "frames": 800, "dropped": 0, "deadline_ms": 21.5}
        row["deadline"] |= {"interval_95": [0.005, 0.015], "longest_run": 2}
        row["memory"]["watched"] = [[100 * step, 150_000_000 + 1000 * step] for step in range(20)]
    found["config"]["deadline_ms"] = 21.5
    part = {"share": 0.2, "kinds": "Convolution"}
    found["layers"] = [
        {
            "nodes": [f"/backbone/a_rather_long_name_of_a_stage/layer{number}/Conv", f"relu{number}"],
            "fp": part | {"microseconds": 900.0 / (number + 1), "precision": "f32"},
            "int8": part | {"microseconds": 400.0 / (number + 1), "precision": "int8"},
        }
        for number in range(30)
    ]
    return found


def written(found: dict[str, Any], folder: Path) -> str:
    (folder / "profile.json").write_text(json.dumps(found), encoding="utf-8")
    return edgekit.write_report(folder / "profile.json", folder / "page.html").read_text(encoding="utf-8")


class Balance(HTMLParser):
    """Fails where a tag is not closed, or another one is."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open += [tag] if tag not in VOID else []

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_loads_nothing(tmp_path: Path) -> None:
    page = written(profile(), tmp_path)
    balance = Balance()
    balance.feed(page)
    assert balance.open == []
    assert not re.search(r"<script|<iframe|@import|url\(|https?://|src=\"(?!data:)", page)
    assert len(page) < 200_000


def test_the_page_shows_what_the_profile_says(tmp_path: Path) -> None:
    found = profile()
    page = written(found, tmp_path)
    median = found["rows"][1]["latency"]["end_to_end"]["percentiles"]["p50"]["value"]
    texts = ["measured", f"{median:.2f} ms", "p99.9 needs 6,636 runs", "deadline 21.5 ms", "INT8 400 µs, 20.0%, int8"]
    texts += ["10 smaller ones", "governor powersave", "Resident memory over runs", "noise floor", "Some CPU 9B45"]
    for text in texts:
        assert text in page, text
    late = int((read_samples(found, "fp", "end_to_end") > 21.5e6).sum())
    assert f"FP {late:,}, INT8 0" in page


def test_many_samples_are_drawn_as_their_extent(tmp_path: Path) -> None:
    page = written(profile(runs=100), tmp_path)
    assert 'class="spans int8"' in page
    assert len(page) < 250_000


def test_names_are_text_and_no_markup(tmp_path: Path) -> None:
    found = profile()
    found["bundle"] = "<script>alert(1)</script>"
    found["warnings"] = ["<b>bold</b> & more"]
    found["layers"][0]["nodes"] = ["<i>"]
    page = written(found, tmp_path)
    assert "<script" not in page
    assert "&lt;b&gt;bold&lt;/b&gt; &amp; more" in page


def test_a_profile_without_layers_memory_and_deadline_has_a_page(tmp_path: Path) -> None:
    found = profiled()
    for row in found["rows"]:
        row["memory"] = None
    page = written(found, tmp_path)
    assert "<h2>Layers</h2>" not in page
    assert "does not tell what a process holds" in page


def test_profiles_in_several_engines_share_a_page_with_the_estimates(tmp_path: Path) -> None:
    first, second = profile(), profile()
    second["config"]["engine"] = "onnxruntime"
    model = clean(batchnorm_net(), 17).model
    boards = [estimate_model("net", model, load_target(name)) for name in ("jetson-orin", "qualcomm-htp-v73")]
    estimates = [board.to_json() for board in boards]
    page = written({"schema_version": 2, "profiles": [first, second], "estimates": estimates}, tmp_path)
    assert page.count("<h2>Latency distribution</h2>") == 2
    assert '<h2 class="engine">openvino 2026.4.1, 1 thread</h2>' in page
    assert "Other boards: estimated, not measured" in page
    assert "int8_tops, fp16_tflops, dram_gb_s" in page


def test_what_is_no_profile_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "profile.json").write_text("[]", encoding="utf-8")
    with pytest.raises(ArtifactError, match="not valid"):
        edgekit.write_report(tmp_path / "profile.json", tmp_path / "page.html")
    assert [path.name for path in tmp_path.iterdir()] == ["profile.json"]


def test_a_page_is_not_overwritten_unasked(tmp_path: Path) -> None:
    written(profile(), tmp_path)
    with pytest.raises(OutputError):
        written(profile(), tmp_path)


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium is installed: apt-get install chromium")
def test_a_browser_shows_it_without_complaint(tmp_path: Path) -> None:
    seen = look(written(profile(), tmp_path), 400, 820, 1400)
    assert seen.console == []
    assert seen.requests == []
    for answer in seen.answers:
        assert answer["overlaps"] == []
        assert answer["wide"] == []
        assert answer["malformed"] == 0
        assert answer["charts"] == 4
        assert min(answer["heights"]) > 100


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium is installed: apt-get install chromium")
def test_the_browser_would_tell_of_requests_complaints_and_overlaps(tmp_path: Path) -> None:
    page = written(profile(), tmp_path)
    spoilt = page.replace(
        "<main>",
        '<main><img src="http://nowhere.invalid/x.png"><script>0</script>'
        '<p style="position:absolute;top:0;left:0;width:90rem">on top</p>',
    )
    seen = look(spoilt, 800)
    assert any("nowhere.invalid" in request for request in seen.requests)
    assert any("Content Security Policy" in message for message in seen.console)
    assert seen.answers[0]["overlaps"]
    assert seen.answers[0]["wide"]


def test_a_rankers_call_is_no_picture_in_pixels(tmp_path: Path) -> None:
    found = profile()
    height, width = found["config"]["frame_size"]
    assert f"{width} x {height} px" in written(found, tmp_path)
    (tmp_path / "page.html").unlink()
    found["config"]["reads"] = "features"
    page = written(found, tmp_path)
    assert f"{height} candidates of {width} features" in page
    assert f"{width} x {height} px" not in page

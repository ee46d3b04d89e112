from __future__ import annotations

import base64
import json
import re
import shutil
from pathlib import Path

import pytest

import edgekit
from edgekit.calibration.artifact import Calibration
from edgekit.errors import ArtifactError


def test_a_calibration_becomes_a_page_with_its_worst_frames_inside(
    lane_calibration: Calibration, tmp_path: Path
) -> None:
    folder, report = lane_calibration.folder, lane_calibration.report
    page = edgekit.write_report(folder, tmp_path / "lane.html").read_text(encoding="utf-8")
    pictures = sorted((folder / "worst").iterdir())
    inside = [base64.b64decode(data) for data in re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)]
    assert pictures
    assert inside == [picture.read_bytes() for picture in pictures]
    for gate in report["gates"]:
        assert ("kept" if gate["passed"] else "FAILED") in page
    per_frame = report["agreement"]["per_frame"]
    assert max(per_frame, key=lambda frame: per_frame[frame]["distortion"]) in page
    assert not re.search(r"<script|https?://|src=\"(?!data:)", page)


def test_a_calibration_without_pictures_has_a_page(small_calibration: Calibration, tmp_path: Path) -> None:
    bare = shutil.copytree(small_calibration.folder, tmp_path / "bare", ignore=shutil.ignore_patterns("worst"))
    page = edgekit.write_report(bare, tmp_path / "bare.html").read_text(encoding="utf-8")
    assert "<h1>Calibration bare" in page
    assert "Worst frames" not in page


def test_a_page_says_which_frames_were_judged(small_calibration: Calibration, tmp_path: Path) -> None:
    for held_out, told in ((True, "frames, held out."), (False, "frames, the same that were calibrated on")):
        folder = shutil.copytree(small_calibration.folder, tmp_path / str(held_out))
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        report["agreement"]["held_out"] = held_out
        (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")
        assert told in edgekit.write_report(folder, tmp_path / f"{held_out}.html").read_text(encoding="utf-8")


def test_nothing_to_report_on_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"nothing at (.|\n)*edgekit calibrate"):
        edgekit.write_report(tmp_path / "none", tmp_path / "none.html")
    assert list(tmp_path.iterdir()) == []

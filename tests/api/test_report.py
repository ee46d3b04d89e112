from __future__ import annotations

import base64
import re
import shutil
from pathlib import Path

import edgekit
from edgekit.calibration.artifact import Calibration


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

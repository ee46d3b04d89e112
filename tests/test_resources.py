from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.errors import UsageError
from edgekit.resources import Kind, find, nearest, shipped_folder, shipped_names


@pytest.mark.parametrize("kind", ["calib", "targets"])
def test_every_file_of_the_folder_is_shipped_under_its_name(kind: Kind) -> None:
    names = shipped_names(kind)
    assert len(names) == len(list(shipped_folder(kind).iterdir()))
    assert names == sorted(names)
    assert all(find(kind, name).stem == name for name in names)


def test_a_checkout_ships_its_own_folders(root: Path) -> None:
    assert shipped_folder("calib") == root / "calib"
    assert shipped_folder("targets") == root / "targets"


def test_a_path_wins_over_a_shipped_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "lane-curve.toml"
    own.touch()
    monkeypatch.chdir(tmp_path)
    assert find("calib", "lane-curve.toml") == Path("lane-curve.toml")
    assert find("calib", str(own)) == own
    assert find("calib", "lane-curve") == shipped_folder("calib") / "lane-curve.toml"


@pytest.mark.parametrize(
    ("kind", "name", "meant"),
    [
        ("calib", "lane-curves", "lane-curve"),
        ("calib", "segmentation", "lane-segmentation"),
        ("targets", "jetson_orin", "jetson-orin"),
        ("targets", "intel-cpu-vnni.toml", "intel-cpu-vnni"),
    ],
)
def test_an_unknown_name_suggests_the_nearest(kind: Kind, name: str, meant: str) -> None:
    with pytest.raises(UsageError) as raised:
        find(kind, name)
    assert name in raised.value.problem
    assert f"Did you mean '{meant}'?" in raised.value.fix
    assert all(known in str(raised.value) for known in shipped_names(kind))


def test_a_name_that_resembles_nothing_is_met_with_no_guess() -> None:
    with pytest.raises(UsageError) as raised:
        find("targets", "zzz")
    assert "Did you mean" not in raised.value.fix
    assert "There is no target named 'zzz'." in str(raised.value)


@pytest.mark.parametrize("name", ["", ".", "../targets/host", "targets/host"])
def test_only_a_plain_name_is_looked_up_among_the_shipped_ones(name: str) -> None:
    with pytest.raises(UsageError):
        find("targets", name)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    folder = tmp_path / "mine.toml"
    folder.mkdir()
    with pytest.raises(UsageError, match="There is no recipe file"):
        find("calib", str(folder))


def test_nearest_is_a_sentence_or_nothing() -> None:
    assert nearest("pionts", ["points", "lane_class"]) == "Did you mean 'points'? "
    assert nearest("pionts", []) == ""

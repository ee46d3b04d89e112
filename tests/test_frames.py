from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgekit.errors import DataError
from edgekit.frames import Frames


def picture(index: int, size: tuple[int, int] = (24, 32)) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 256, (*size, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "frames"
    (path / "night").mkdir(parents=True)
    for index in range(10):
        where = path / "night" if index >= 8 else path
        cv2.imwrite(str(where / f"{index:03d}.png"), picture(index))
    (path / "notes.txt").write_text("no picture\n")
    return path


def test_a_folder_is_read_in_order_with_its_subfolders(folder: Path) -> None:
    frames = Frames.open(folder)
    read = list(frames)
    assert [frame.name for frame in read][-2:] == ["night/008.png", "night/009.png"]
    assert all(np.array_equal(frame.values, picture(index)) for index, frame in enumerate(read))
    assert frames.skipped == []


def test_frames_can_be_iterated_again(folder: Path) -> None:
    frames = Frames.open(folder)
    assert [frame.name for frame in frames] == [frame.name for frame in frames]


def test_spread_is_even_and_keeps_the_order(folder: Path) -> None:
    frames = Frames.open(folder)
    assert [frame.name for frame in frames.spread(5)] == [frame.name for frame in list(frames)[::2]]
    assert len(frames.spread(100)) == 10


def test_split_leaves_every_frame_in_one_part(folder: Path) -> None:
    rest, held_out = Frames.open(folder).split(4)
    names = [frame.name for frame in held_out]
    assert names == ["003.png", "007.png"]
    assert sorted([*names, *(frame.name for frame in rest)]) == [frame.name for frame in Frames.open(folder)]


def test_a_list_file_names_frames_beside_it(folder: Path) -> None:
    listed = folder / "some.txt"
    listed.write_text("# chosen\n005.png\n\nnight/008.png\n")
    assert [frame.name for frame in Frames.open(listed)] == ["005.png", "night/008.png"]


@pytest.mark.parametrize("compressed", [False, True])
def test_an_archive_is_read_frame_by_frame(tmp_path: Path, compressed: bool) -> None:
    path = tmp_path / "frames.npz"
    stack = np.stack([picture(index) for index in range(6)])
    (np.savez_compressed if compressed else np.savez)(path, frames=stack)
    frames = Frames.open(path)
    assert all(np.array_equal(frame.values, stack[index]) for index, frame in enumerate(frames))
    assert [frame.name for frame in frames.spread(2)] == ["frames.npz[0]", "frames.npz[3]"]
    assert np.array_equal(next(iter(frames.spread(1))).values, stack[0])


@pytest.mark.parametrize(
    "array", [np.zeros((2, 4, 4, 3), np.float32), np.zeros((4, 4, 3), np.uint8), np.zeros((0, 4, 4, 3), np.uint8)]
)
def test_an_archive_of_something_else_is_refused(tmp_path: Path, array: np.ndarray) -> None:
    np.savez(tmp_path / "x.npz", frames=array)
    with pytest.raises(DataError, match="does not hold frames"):
        Frames.open(tmp_path / "x.npz")


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(b"not a zip")
    with pytest.raises(DataError, match="not a zip file"):
        Frames.open(tmp_path / "x.npz")


def test_a_video_is_read_in_order_and_in_part(tmp_path: Path) -> None:
    path = tmp_path / "drive.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    shades = [10 * index for index in range(12)]
    for shade in shades:
        writer.write(np.full((48, 64, 3), shade, np.uint8))
    writer.release()
    frames = Frames.open(path)
    assert [round(float(frame.values.mean()), -1) for frame in frames] == shades
    assert [round(float(frame.values.mean()), -1) for frame in frames.spread(3)] == [0, 40, 80]
    assert next(round(float(frame.values.mean()), -1) for frame in frames) == 0


def test_the_digest_depends_on_content_and_order_only(folder: Path, tmp_path: Path) -> None:
    digest = Frames.open(folder).digest()
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    assert Frames.open(copy).digest() == digest
    cv2.imwrite(str(copy / "003.png"), picture(99))
    assert Frames.open(copy).digest() != digest
    assert Frames.open(folder).spread(5).digest() != digest


def test_a_broken_picture_is_left_out_and_named(folder: Path) -> None:
    (folder / "004.png").write_bytes(b"\x89PNG broken")
    frames = Frames.open(folder)
    assert len(list(frames)) == 9
    assert frames.skipped == ["004.png"]


def test_a_part_notes_what_it_skips_with_the_whole(folder: Path) -> None:
    (folder / "003.png").write_bytes(b"broken")
    frames = Frames.open(folder)
    rest, held_out = frames.split(2)
    assert len(list(held_out)) == 4
    list(rest)
    list(held_out)
    assert frames.skipped == ["003.png"]


def test_a_jpeg_cut_off_is_left_out_instead_of_read_half_grey(folder: Path) -> None:
    path = folder / "000.jpg"
    cv2.imwrite(str(path), picture(0, (240, 320)))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert cv2.imread(str(path)) is not None
    frames = Frames.open(folder)
    assert len(list(frames)) == 10
    assert frames.skipped == ["000.jpg"]


def test_too_many_broken_pictures_are_an_error(folder: Path) -> None:
    for index in range(3):
        (folder / f"{index:03d}.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"2 of 10 frames cannot be read(.|\n)*000\.png"):
        list(Frames.open(folder))


def test_an_only_picture_that_is_broken_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"broken")
    with pytest.raises(DataError):
        list(Frames.open(tmp_path))


@pytest.mark.parametrize(("name", "message"), [("gone", "no frames at"), ("model.onnx", "not a source of frames")])
def test_what_is_no_source_is_refused(tmp_path: Path, name: str, message: str) -> None:
    if name.endswith(".onnx"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError, match=message):
        Frames.open(tmp_path / name)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no images in"):
        Frames.open(tmp_path)


def test_a_file_that_is_no_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.avi").write_bytes(b"not a video")
    with pytest.raises(DataError, match="cannot be played"):
        Frames.open(tmp_path / "x.avi")


class TestRequests:
    def test_an_archive_of_rows_is_read_request_by_request(self, tmp_path: Path) -> None:
        rows = np.random.default_rng(0).normal(size=(5, 7, 3)).astype(np.float32)
        np.savez(tmp_path / "requests.npz", frames=rows)
        frames = Frames.open(tmp_path / "requests.npz")
        assert len(frames) == 5
        assert [frame.name for frame in frames] == [f"requests.npz[{index}]" for index in range(5)]
        assert all(np.array_equal(frame.values, rows[index]) for index, frame in enumerate(frames))

    def test_a_folder_of_archives_is_one_after_the_other(self, tmp_path: Path) -> None:
        rows = np.random.default_rng(0).normal(size=(5, 7, 3)).astype(np.float32)
        np.savez_compressed(tmp_path / "a.npz", frames=rows[:2])
        np.savez(tmp_path / "b.npz", frames=rows[2:])
        frames = Frames.open(tmp_path)
        assert [frame.name for frame in frames] == ["a.npz[0]", "a.npz[1]", "b.npz[0]", "b.npz[1]", "b.npz[2]"]
        assert np.array_equal(np.stack([frame.values for frame in frames]), rows)
        training, held_out = frames.split(2)
        assert training.digest() != held_out.digest() != frames.digest()
        assert Frames.open(tmp_path).digest() == frames.digest()

    def test_archives_of_different_width_do_not_belong_together(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "a.npz", frames=np.zeros((2, 7, 3), np.float32))
        np.savez(tmp_path / "b.npz", frames=np.zeros((2, 7, 4), np.float32))
        with pytest.raises(DataError, match=r"do not belong together(.|\n)*b.npz float32 \(2, 7, 4\)"):
            Frames.open(tmp_path)

    @pytest.mark.parametrize(
        "rows", [np.zeros((2, 7, 3)), np.zeros((2, 7), np.float32), np.zeros((2, 0, 3), np.float32)]
    )
    def test_what_are_no_rows_of_float32_is_refused(self, tmp_path: Path, rows: np.ndarray) -> None:
        np.savez(tmp_path / "requests.npz", frames=rows)
        with pytest.raises(DataError, match="does not hold frames"):
            Frames.open(tmp_path / "requests.npz")

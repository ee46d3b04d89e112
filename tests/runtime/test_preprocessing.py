from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgekit.errors import DataError, UsageError
from edgekit.recipes import Preprocessing
from edgekit.runtime.preprocessing import PAD_VALUE, Preprocessor

MEAN, STD = (0.4, 0.45, 0.5), (0.28, 0.27, 0.25)


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def prepared(frame: NDArray[np.uint8], size: tuple[int, int], **settings: Any) -> NDArray[np.float32]:
    """Prepare a frame without normalization and return it as height x width x channels."""
    layout = settings.get("layout", "nchw")
    shape = (1, 3, *size) if layout == "nchw" else (1, *size, 3)
    values = Preprocessor(Preprocessing(divide_by=1.0, **{"color": "bgr", **settings}), shape)(frame)
    return values[0].transpose(1, 2, 0) if layout == "nchw" else values[0]


class TestPixels:
    def test_frame_of_the_right_size_is_only_normalized(self) -> None:
        frame = noise(8, 10)
        recipe = Preprocessing(color="bgr", mean=MEAN, std=STD)
        values = Preprocessor(recipe, (1, 3, 8, 10))(frame)
        expected = (frame.astype(np.float64) / 255 - MEAN) / STD
        assert values.dtype == np.float32
        assert values.flags.c_contiguous
        np.testing.assert_allclose(values[0].transpose(1, 2, 0), expected, atol=1e-6)

    def test_rgb_turns_the_channels_around(self) -> None:
        frame = noise(4, 6)
        np.testing.assert_array_equal(prepared(frame, (4, 6), color="rgb"), frame[..., ::-1])

    def test_mean_and_std_belong_to_the_order_of_the_input(self) -> None:
        frame = np.zeros((1, 1, 3), np.uint8)
        values = Preprocessor(Preprocessing(color="rgb", mean=MEAN), (1, 3, 1, 1))(frame)
        np.testing.assert_allclose(values.ravel(), np.negative(MEAN), atol=1e-7)

    def test_nhwc_holds_the_same_values(self) -> None:
        frame = noise(7, 9)
        np.testing.assert_array_equal(prepared(frame, (5, 6), layout="nhwc"), prepared(frame, (5, 6)))

    def test_resize_is_opencvs(self) -> None:
        cv2 = pytest.importorskip("cv2")
        frame = noise(20, 30)
        methods = {
            "linear": cv2.INTER_LINEAR,
            "area": cv2.INTER_AREA,
            "cubic": cv2.INTER_CUBIC,
            "nearest": cv2.INTER_NEAREST,
        }
        for name, method in methods.items():
            expected = cv2.resize(frame, (12, 8), interpolation=method)
            np.testing.assert_array_equal(prepared(frame, (8, 12), interpolation=name), expected)

    @pytest.mark.parametrize("height, rows", [(590, 236), (720, 288), (5, 2), (1, 0)])
    def test_crop_takes_away_rows_at_the_top(self, height: int, rows: int) -> None:
        frame = noise(height, 4)
        np.testing.assert_array_equal(prepared(frame, (height - rows, 4), crop_top=0.4), frame[rows:])

    def test_letterbox_keeps_the_shape_and_pads_with_grey(self) -> None:
        values = prepared(np.full((10, 20, 3), 200, np.uint8), (12, 12), fit="letterbox")
        assert (values[3:9] == 200).all()
        assert (values[:3] == PAD_VALUE).all()
        assert (values[9:] == PAD_VALUE).all()

    def test_frame_that_is_a_view_gives_the_same(self) -> None:
        frame = noise(20, 30)
        mirrored = np.ascontiguousarray(frame[:, ::-1])
        np.testing.assert_array_equal(prepared(frame[:, ::-1], (8, 12)), prepared(mirrored, (8, 12)))

    def test_frame_is_left_as_it_is_and_results_are_new(self) -> None:
        frame = noise(8, 10)
        preprocessor = Preprocessor(Preprocessing(mean=MEAN, std=STD), (1, 3, 8, 10))
        first = preprocessor(frame)
        kept = first.copy()
        preprocessor(noise(8, 10, seed=1))
        np.testing.assert_array_equal(first, kept)
        np.testing.assert_array_equal(frame, noise(8, 10))

    @pytest.mark.parametrize(
        "frame",
        [
            np.zeros((4, 4), np.uint8),
            np.zeros((4, 4, 1), np.uint8),
            np.zeros((4, 4, 4), np.uint8),
            np.zeros((3, 4, 4), np.uint8),
            np.zeros((4, 4, 3), np.float32),
            np.zeros((0, 4, 3), np.uint8),
            [[[0, 0, 0]]],
            None,
        ],
    )
    def test_what_is_no_frame_is_refused(self, frame: Any) -> None:
        with pytest.raises(DataError, match="uint8"):
            Preprocessor(Preprocessing(), (1, 3, 4, 4))(frame)


class TestInputShape:
    @pytest.mark.parametrize("shape", [(1, 8, 8, 3), (1, 1, 8, 8), (2, 3, 8, 8), (3, 8, 8), (1, 3, 0, 8)])
    def test_model_that_takes_no_such_image_is_refused(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(UsageError, match="nchw"):
            Preprocessor(Preprocessing(), shape)

    def test_size_that_is_not_the_models_is_refused(self) -> None:
        with pytest.raises(UsageError, match=r"\(8, 9\)"):
            Preprocessor(Preprocessing(size=(8, 9)), (1, 3, 8, 10))
        assert Preprocessor(Preprocessing(size=(8, 9)), (1, 3, 8, 9)).input_size == (8, 9)


sizes = st.integers(1, 2000)
crops = st.floats(0.0, 0.99)


class TestGeometry:
    @given(sizes, sizes, crops, sizes, sizes)
    def test_stretched_input_covers_the_frame_below_the_crop(
        self, height: int, width: int, crop: float, input_height: int, input_width: int
    ) -> None:
        preprocessor = Preprocessor(Preprocessing(crop_top=crop), (1, 3, input_height, input_width))
        geometry = preprocessor.geometry((height, width))
        rows = int(crop * height + 1e-6)
        corners = geometry.to_frame(np.array([[0, 0], [input_width, input_height]]))
        np.testing.assert_allclose(corners, [[0, rows], [width, height]], rtol=1e-5, atol=1e-3)

    @given(st.integers(2, 2000), st.integers(2, 2000), st.integers(16, 600), st.integers(16, 600))
    def test_letterboxed_frame_lies_centred_within_the_input(
        self, height: int, width: int, input_height: int, input_width: int
    ) -> None:
        preprocessor = Preprocessor(Preprocessing(fit="letterbox"), (1, 3, input_height, input_width))
        geometry = preprocessor.geometry((height, width))
        low, high = ((np.array(corner) - geometry.offset) / geometry.scale for corner in ((0.0, 0.0), (width, height)))
        padding = low + (np.array([input_width, input_height]) - high)
        assert (low > -1e-3).all() and (high < np.array([input_width, input_height]) + 1e-3).all()
        assert padding.min() < 1e-3, "one side fills the input"
        assert (np.abs(low - (padding - low)) <= 1 + 1e-3).all(), "both margins are equal, up to the odd px"

    @pytest.mark.parametrize(
        "settings", [{}, {"crop_top": 0.4}, {"fit": "letterbox"}, {"fit": "letterbox", "crop_top": 0.3}]
    )
    @given(row=st.integers(0, 9), column=st.integers(0, 15))
    def test_what_lies_in_a_cell_of_the_frame_is_found_there(
        self, settings: dict[str, Any], row: int, column: int
    ) -> None:
        frame = np.zeros((200, 320, 3), np.uint8)
        cell = (slice(100 + row * 10, 110 + row * 10), slice(column * 20, (column + 1) * 20))
        frame[cell] = 255
        preprocessor = Preprocessor(Preprocessing(interpolation="area", **settings), (1, 3, 96, 128))
        bright = np.argwhere(preprocessor(frame)[0, 0] > 0.99)[:, ::-1] + 0.5
        points = preprocessor.geometry((200, 320)).to_frame(bright)
        assert len(points)
        assert (points[:, 0] > cell[1].start).all() and (points[:, 0] < cell[1].stop).all()
        assert (points[:, 1] > cell[0].start).all() and (points[:, 1] < cell[0].stop).all()

    def test_scale_is_plain(self) -> None:
        geometry = Preprocessor(Preprocessing(), (1, 3, 256, 512)).geometry((720, 1280))
        np.testing.assert_allclose(geometry.to_frame(np.array([[8.0, 3.5]])), [[8 * 1280 / 512, 3.5 * 720 / 256]])


def test_the_example_is_always_the_same_noise() -> None:
    preprocessor = Preprocessor(Preprocessing(), (1, 3, 4, 4))
    frame = preprocessor.example((20, 30))
    assert (frame.shape, frame.dtype) == ((20, 30, 3), np.uint8)
    assert frame.std() > 60
    np.testing.assert_array_equal(frame, preprocessor.example((20, 30)))

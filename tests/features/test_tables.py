from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from edgekit.errors import UsageError
from edgekit.features.encode import Encoder
from edgekit.features.tables import Bits, gather, largest_row, quantize_table, requantize, scale_values
from tests.features.shop import SHOP, tables

MATRICES = arrays(
    np.float32,
    st.tuples(st.integers(1, 6), st.integers(1, 9)),
    elements=st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=True),
)


@settings(deadline=None)
@given(MATRICES, st.sampled_from([8, 4]))
def test_no_value_is_off_by_more_than_half_its_scale(values: NDArray[np.float32], bits: Bits) -> None:
    table = quantize_table(values, bits)
    scales = scale_values(table.exponent)[table.scales].astype(np.float64)
    error = np.abs(table.dense().astype(np.float64) - values.astype(np.float64))
    assert (error <= scales[:, None] / 2 * (1 + 1e-6)).all()


@settings(deadline=None)
@given(MATRICES, st.sampled_from([8, 4]))
def test_scales_are_at_most_a_sixteenth_too_large(values: NDArray[np.float32], bits: Bits) -> None:
    table = quantize_table(values, bits)
    scales = scale_values(table.exponent)[table.scales].astype(np.float64)
    wanted = np.abs(values).max(axis=1).astype(np.float64) / {8: 127, 4: 7}[bits]
    finest = float(scale_values(table.exponent)[0])
    assert (scales <= np.maximum(wanted * (1 + 1 / 16), finest)).all()


@settings(deadline=None)
@given(arrays(np.int8, st.tuples(st.integers(1, 5), st.integers(1, 9)), elements=st.integers(-7, 7)))
def test_four_bit_come_back_as_they_were_packed(levels: NDArray[np.int8]) -> None:
    # With 7 in every row the scale is exactly one.
    marked = np.concatenate([levels, np.full((len(levels), 1), 7, np.int8)], axis=1).astype(np.float32)
    table = quantize_table(marked, 4)
    assert table.data.shape == (len(marked), (marked.shape[1] + 1) // 2)
    assert table.dense().tolist() == marked.tolist()


@settings(deadline=None)
@given(MATRICES)
def test_32_bit_are_kept_as_they_are(values: NDArray[np.float32]) -> None:
    assert quantize_table(values, 32).dense().tolist() == values.tolist()


def test_a_table_of_zeros_stays_one() -> None:
    assert not quantize_table(np.zeros((3, 5), np.float32), 4).dense().any()


def test_the_size_of_ten_values_with_a_scale_of_one_byte() -> None:
    values = np.ones((100, 10), np.float32)
    assert [quantize_table(values, bits).size for bits in (32, 8, 4)] == [4000, 1100, 600]


@settings(deadline=None)
@given(MATRICES, st.sampled_from([8, 4]))
def test_rows_can_be_replaced_under_the_same_exponent(values: NDArray[np.float32], bits: Bits) -> None:
    table = quantize_table(values, bits)
    assert np.abs(values).max() <= largest_row(bits, table.exponent) * (1 + 1e-6)  # type: ignore[arg-type]
    again = requantize(values[:1], bits, table.exponent)  # type: ignore[arg-type]
    assert again.dense()[0].tolist() == table.dense()[0].tolist()


@pytest.mark.parametrize("values", [np.zeros(3), np.zeros((0, 3)), np.full((2, 2), np.nan), np.full((2, 2), np.inf)])
def test_what_is_no_finite_matrix_is_refused(values: NDArray[np.float64]) -> None:
    with pytest.raises(UsageError, match="no embeddings"):
        quantize_table(values, 8)


def test_other_bits_are_refused() -> None:
    with pytest.raises(UsageError, match="no tables of 5 bit"):
        quantize_table(np.ones((2, 2)), 5)  # type: ignore[arg-type]


class TestGather:
    @pytest.mark.parametrize("bits", [32, 8, 4])
    def test_embeddings_lie_side_by_side_in_the_schemas_order(self, bits: Bits) -> None:
        quantized = {name: quantize_table(values, bits) for name, values in tables().items()}
        dense = {name: table.dense() for name, table in quantized.items()}
        columns = {
            "user_id": ["u1", None],
            "history": [["7", "9"], []],
            "hour": [3, 4],
            "item_id": ["8", "new"],
            "tags": [["a", "b"], ["b"]],
            "price": [15, None],
        }
        encoder = Encoder(SHOP)
        found = gather(SHOP, quantized, encoder.encode(columns))
        rows = [
            dense["user_id"][4],
            (dense["history"][2] + dense["history"][4]) / 2,
            dense["hour"][5],
            dense["item_id"][4],
            dense["tags"][2] + dense["tags"][3],
            dense["price"][1] + dense["price"][2],
        ]
        assert found.dtype == np.float32
        assert found.shape == (2, SHOP.width)
        np.testing.assert_allclose(found[0], np.concatenate(rows), rtol=1e-6)
        rows = [
            dense["user_id"][0],
            dense["history"][0],
            dense["hour"][6],
            dense["item_id"][encoder.row("item_id", "new")],
            dense["tags"][3],
            dense["price"][0],
        ]
        np.testing.assert_allclose(found[1], np.concatenate(rows), rtol=1e-6)

    def test_fields_that_are_not_encoded_stay(self) -> None:
        quantized = {name: quantize_table(values, 8) for name, values in tables().items()}
        out = np.full((1, SHOP.width), 9, np.float32)
        encoded = Encoder(SHOP).encode({"hour": [3]}, fields=["hour"])
        assert gather(SHOP, quantized, encoded, out) is out
        start = SHOP.offsets["hour"]
        assert (np.delete(out, range(start, start + 3), axis=1) == 9).all()
        assert not (out[:, start : start + 3] == 9).any()

"""Embedding tables with rows of 32, 8 or 4 bit, and the float rows that a network reads.

A row of 8 or 4 bit is q * scale with q from -127 to 127 or -7 to 7. Its scale is one byte, a mantissa of four bit and
an exponent of four bit, so that it is exact in every language:

    scale = (16 + (byte & 15)) * 2 ** ((byte >> 4) + exponent)

with one `exponent` per table. The scale is rounded up: no value is clipped, and none is off by more than half a scale.
A byte costs a row of ten values 2.5 % of their size in float32, where float16 would cost 5 %. The exponent leaves room
for rows up to four times as large as the largest, which an update may bring.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import UsageError
from edgekit.features.encode import Encoded
from edgekit.features.schema import Field, Schema

Bits = Literal[32, 8, 4]
LEVELS: dict[int, int] = {8: 127, 4: 7}
_OCTAVES, _ROOM = 16, 2
_PAIRS = np.stack([np.arange(256) & 15, np.arange(256) >> 4], axis=1).astype(np.float32) - 8.0
"""Byte to the two values of 4 bit in it, the lower four bit first; 8 is added to each as it is stored."""


@dataclass(frozen=True)
class Table:
    """The embedding table of one field.

    Attributes:
        bits: Of a value.
        dimension: Values in a row.
        data: (rows, dimension) float32 or int8; (rows, (dimension + 1) // 2) uint8 for 4 bit.
        scales: (rows) uint8; empty for 32 bit.
        exponent: Of all scales.
    """

    bits: Bits
    dimension: int
    data: NDArray[Any]
    scales: NDArray[np.uint8]
    exponent: int = 0

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.data)

    @property
    def size(self) -> int:
        """Bytes of rows and scales."""
        return int(self.data.nbytes + self.scales.nbytes)

    def take(self, ids: NDArray[np.int32]) -> NDArray[np.float32]:
        """Return the rows (N, dimension) float32 of `ids` (N)."""
        if self.bits == 32:
            return np.asarray(self.data[ids], np.float32)
        scales = scale_values(self.exponent)[self.scales[ids], None]
        if self.bits == 8:
            return _product(self.data[ids], scales)
        pairs = _PAIRS[self.data[ids]].reshape(len(ids), -1)[:, : self.dimension]
        return _product(pairs, scales)

    def dense(self) -> NDArray[np.float32]:
        """Return all rows, (rows, dimension) float32."""
        return self.take(np.arange(self.rows, dtype=np.int32))


def quantize_table(values: NDArray[np.floating[Any]], bits: Bits) -> Table:
    """Return a table with rows of so many bit.

    Args:
        values: (rows, dimension) of finite numbers.
        bits: 32, 8 or 4.

    Raises:
        UsageError: The values are no finite matrix, or there is no such number of bits.
    """
    values = np.asarray(values, np.float32)
    if values.ndim != 2 or not values.size or not np.isfinite(values).all():
        raise UsageError(
            problem="These are no embeddings.",
            found="values that are not finite" if values.ndim == 2 and values.size else f"an array {values.shape}",
            fix="Give a matrix (rows, dimension) of finite numbers.",
        )
    if bits == 32:
        return Table(32, values.shape[1], values.copy(), np.zeros(0, np.uint8))
    if bits not in LEVELS:
        raise UsageError(problem=f"There are no tables of {bits} bit.", fix="Choose 32, 8 or 4.")
    wanted = np.abs(values).max(axis=1).astype(np.float64) / LEVELS[bits]
    exponent = _exponent(float(wanted.max()))
    return requantize(values, bits, exponent)


def requantize(values: NDArray[np.float32], bits: Literal[8, 4], exponent: int) -> Table:
    """Return a table with rows of 8 or 4 bit whose scales have this exponent, large enough for all rows."""
    scales = _scale_bytes(np.abs(values).max(axis=1).astype(np.float64) / LEVELS[bits], exponent)
    steps = values.astype(np.float64) / scale_values(exponent)[scales, None].astype(np.float64)
    levels = np.clip(np.rint(steps), -LEVELS[bits], LEVELS[bits]).astype(np.int8)
    data = levels if bits == 8 else _pack(levels)
    return Table(bits, values.shape[1], data, scales, exponent)


@lru_cache(maxsize=256)
def scale_values(exponent: int) -> NDArray[np.float32]:
    """Return the 256 scales that a byte can stand for, (256) float32."""
    byte = np.arange(256)
    scales = np.asarray(np.ldexp((16 + (byte & 15)).astype(np.float32), (byte >> 4) + exponent), np.float32)
    scales.setflags(write=False)
    return scales


def largest_row(bits: Literal[8, 4], exponent: int) -> float:
    """Return the largest |value| that a row can hold under this exponent."""
    return float(scale_values(exponent)[-1]) * LEVELS[bits]


def with_rows(table: Table, places: Sequence[int], values: NDArray[np.float32]) -> Table:
    """Return a table with some rows replaced, and with others behind its last one.

    Args:
        table: The table; it stays as it is.
        places: Rows, each once: those that are there, and from the first behind them on without a gap.
        values: (len(places), dimension) float32.

    Raises:
        UsageError: A value is larger than rows of this table can hold.
    """
    if table.bits == 32:
        new = Table(32, table.dimension, values, table.scales)
    elif np.abs(values).max(initial=0.0) <= largest_row(table.bits, table.exponent):
        new = requantize(values, table.bits, table.exponent)
    else:
        raise UsageError(
            problem="A new row is too large for its table.",
            found=f"{np.abs(values).max():.3g}, rows here hold up to {largest_row(table.bits, table.exponent):.3g}",
            fix="Check the row; if it is right, write the features again and ship a new bundle.",
        )
    more = max(max(places, default=0) + 1 - table.rows, 0)
    data = np.concatenate([table.data, np.zeros((more, *table.data.shape[1:]), table.data.dtype)])
    scales = np.concatenate([table.scales, np.zeros(more if table.bits != 32 else 0, np.uint8)])
    data[list(places)] = new.data
    if table.bits != 32:
        scales[list(places)] = new.scales
    return Table(table.bits, table.dimension, data, scales, table.exponent)


def gather(
    schema: Schema,
    tables: Mapping[str, Table],
    encoded: Mapping[str, Encoded],
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Return the embeddings of all encoded fields side by side, in the schema's order.

    Args:
        schema: The fields.
        tables: Field name to table.
        encoded: Field name to what it holds, all of the same length N. Fields that are not there stay as they are in
            `out`.
        out: (N, width) float32 to write to; absent: a new one of zeros.

    Returns:
        (N, width) float32.
    """
    count = len(next(iter(encoded.values())))
    result = np.zeros((count, schema.width), np.float32) if out is None else out
    offsets = schema.offsets
    for field in schema.field:
        if field.name in encoded:
            start = offsets[field.name]
            result[:, start : start + field.dimension] = embed(field, tables[field.name], encoded[field.name])
    return result


def embed(field: Field, table: Table, encoded: Encoded) -> NDArray[np.float32]:
    """Return a field's embeddings, (N, dimension) float32.

    Several ids are pooled over those that count. A number is `value * row 1 + row 2`, or row 0 where it is missing.
    """
    if encoded.values is not None:
        absent, slope, start = table.dense()
        present = encoded.ids[:, None] > 0
        numbers = encoded.values[:, None] * slope + start
        return np.asarray(np.where(present, numbers, absent), np.float32)
    if encoded.lengths is None:
        return table.take(encoded.ids)
    total = np.zeros((len(encoded), table.dimension), np.float32)
    for place in range(encoded.ids.shape[1]):
        counts = encoded.lengths > place
        total[counts] += table.take(encoded.ids[counts, place])
    if field.pooling == "mean":
        total /= encoded.lengths[:, None].astype(np.float32)
    return total


def _product(levels: NDArray[Any], scales: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(np.multiply(levels, scales, dtype=np.float32), np.float32)


def _exponent(largest: float) -> int:
    """Return the exponent under which scales reach to four times `largest`, and a bit beyond."""
    if largest == 0:
        return 0
    # float32 ends at 2^-149: finer scales would be zero.
    return max(math.frexp(largest)[1] - 5 - (_OCTAVES - 1) + _ROOM, -149)


def _scale_bytes(wanted: NDArray[np.float64], exponent: int) -> NDArray[np.uint8]:
    """Return the byte of the smallest scale that is not below each wanted one."""
    return np.searchsorted(scale_values(exponent).astype(np.float64), wanted).clip(0, 255).astype(np.uint8)


def _pack(levels: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Put two values into a byte, the first one into its lower four bit."""
    shifted = (levels + 8).astype(np.uint8)
    if shifted.shape[1] % 2:
        shifted = np.concatenate([shifted, np.full((len(shifted), 1), 8, np.uint8)], axis=1)
    return np.asarray(shifted[:, 0::2] | (shifted[:, 1::2] << 4), np.uint8)

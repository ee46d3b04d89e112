"""A small schema with a field of every kind, and tables for it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgekit.features.schema import Field, Schema

SHOP = Schema(
    name="shop",
    label="clicked",
    user="user_id",
    item="item_id",
    field=(
        Field(name="user_id", kind="categorical", side="user", dimension=4, vocabulary=("u1", "u2"), hash_buckets=3),
        Field(name="history", kind="sequence", side="user", dimension=4, vocabulary=("7", "8", "9"), max_length=3),
        Field(name="hour", kind="categorical", side="context", dimension=3, vocabulary=tuple(map(str, range(24)))),
        Field(name="item_id", kind="categorical", side="item", dimension=4, vocabulary=("7", "8", "9"), hash_buckets=2),
        Field(name="tags", kind="multi", side="item", dimension=3, vocabulary=("a", "b"), max_length=2, pooling="sum"),
        Field(name="price", kind="numerical", side="item", dimension=2, mean=10.0, std=5.0, clip=3.0),
    ),
)


def tables(seed: int = 0) -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    return {field.name: rng.normal(0, 0.3, (field.rows, field.dimension)).astype(np.float32) for field in SHOP.field}

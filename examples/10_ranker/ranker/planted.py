"""A generated shop with planted interactions: the chance of every click is known, and with it the best possible AUC.

Users belong to hidden groups, articles to categories that only their tags tell; what a user clicks depends on group x
category, group x price, hour x category, and on whether the category is that of the last clicks. No field
tells it alone, so a model has to find interactions.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .metrics import auc
from .tables import write_csv

COLUMNS = ("clicked", "bought", "user_id", "item_id", "tags", "price", "recent", "hour", "device")
TASKS = ("clicked", "bought")
GROUPS, CATEGORIES, RECENT, DEVICES = 6, 12, 8, ("phone", "tablet", "watch")


@dataclass(frozen=True)
class World:
    """What the generator knows and a model does not.

    Attributes:
        group: (users) the group of each user.
        category: (items) the category of each article.
        price: (items) logarithm of each price, standardised.
        taste: (groups, categories) logits.
        thrift: (groups) logits per unit of price.
        habit: (24, categories) logits.
        quality: (items) logits.
    """

    group: NDArray[np.int64]
    category: NDArray[np.int64]
    price: NDArray[np.float64]
    taste: NDArray[np.float64]
    thrift: NDArray[np.float64]
    habit: NDArray[np.float64]
    quality: NDArray[np.float64]


def generate(folder: Path, rows: int, users: int, items: int, seed: int) -> dict[str, float]:
    """Write train.csv (80 %), valid.csv and test.csv (10 % each); return the best possible AUC by part and task.

    later.csv holds as many rows as test.csv, all of articles that came afterwards, one for every twenty before.
    """
    rng = np.random.default_rng(seed)
    world = _world(rng, users, items + items // 20)
    known, new = np.arange(items), np.arange(items, items + items // 20)
    folder.mkdir(parents=True, exist_ok=True)
    tenth, best = rows // 10, {}
    plan = {"train": (rows - 2 * tenth, known), "valid": (tenth, known), "test": (tenth, known), "later": (tenth, new)}
    for part, (count, shown) in plan.items():
        table, chances, labels = _rows(rng, world, count, shown, known)
        write_csv(folder / f"{part}.csv", COLUMNS, table)
        for task in TASKS:
            best[f"{part}.{task}"] = auc(chances[task], labels[task])
    return best


def _world(rng: np.random.Generator, users: int, items: int) -> World:
    return World(
        group=rng.integers(GROUPS, size=users),
        category=rng.integers(CATEGORIES, size=items),
        price=rng.normal(size=items),
        taste=rng.normal(0, 1.6, (GROUPS, CATEGORIES)),
        thrift=rng.normal(0, 0.9, GROUPS),
        habit=rng.normal(0, 0.8, (24, CATEGORIES)),
        quality=rng.normal(0, 0.5, items),
    )


def _rows(
    rng: np.random.Generator, world: World, count: int, shown: NDArray[np.int64], clicked: NDArray[np.int64]
) -> tuple[list[tuple[object, ...]], dict[str, NDArray[np.float64]], dict[str, NDArray[np.float64]]]:
    """Return rows of the articles `shown`, the true chance of every label, and the labels drawn from it."""
    user = rng.integers(len(world.group), size=count)
    item = shown[(rng.beta(1, 2.5, count) * len(shown)).astype(np.int64)]  # some are shown more than others
    hour = rng.integers(24, size=count)
    recent = clicked[rng.integers(len(clicked), size=(count, RECENT))]
    kept = rng.integers(RECENT + 1, size=count)
    device = rng.integers(len(DEVICES), size=count)
    group, category = world.group[user], world.category[item]
    there = np.arange(RECENT) >= RECENT - kept[:, None]
    same = ((world.category[recent] == category[:, None]) & there).sum(axis=1)
    liking = (
        world.taste[group, category]
        + world.thrift[group] * world.price[item]
        + world.habit[hour, category]
        + world.quality[item]
        + 1.0 * np.minimum(same, 2)
    )
    # Bought is a question of its own: the same taste, much more of the price.
    logits = {"clicked": liking - 1.0, "bought": 0.7 * liking - 0.8 * world.price[item] - 2.0}
    chances = {task: 1 / (1 + np.exp(-logits[task])) for task in TASKS}
    labels = {task: (rng.random(count) < chances[task]).astype(np.float64) for task in TASKS}
    price = np.round(np.exp(2 + 0.5 * world.price), 2)
    table: list[tuple[object, ...]] = [
        (
            int(labels["clicked"][row]),
            int(labels["bought"][row]),
            f"u{user[row]}",
            f"i{item[row]}",
            _tags(int(category[row]), int(item[row])),
            # One price in fifty is unknown, as in data of one's own.
            "" if item[row] % 50 == 7 else price[item[row]],
            "|".join(f"i{each}" for each in recent[row][there[row]]),
            hour[row],
            DEVICES[device[row]],
        )
        for row in range(count)
    ]
    return table, chances, labels


def _tags(category: int, item: int) -> str:
    """Return two tags that together tell the category, and one that tells nothing."""
    return f"a{category % 4}|b{category // 4}|c{item % 3}"

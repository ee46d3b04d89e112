"""What an app does with a bundle: rank the shop's articles for a user, say why, and take in an update.

python app.py build/ranker/ranker.edge build/ranker/data [--update build/ranker/later.delta]
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import Any

import edgekit

Row = dict[str, Any]


def main() -> None:
    """Rank for the user of the first test row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("data", type=Path, help="folder with test.csv and later.csv")
    parser.add_argument("--update", type=Path, help="a delta to apply")
    parser.add_argument("-k", type=int, default=5, help="length of the list")
    args = parser.parse_args()
    shown, later = _rows(args.data / "test.csv"), _rows(args.data / "later.csv")
    with edgekit.load(args.bundle) as ranker:
        user = _part(ranker, shown[0], ("user", "context"))
        items = _items(ranker, shown)
        print(f"{len(items)} articles for {user['user_id']} at {user['hour']} h:")
        _tell(ranker.rank(user, items, args.k, explain=True))
        items += _items(ranker, later)
        if args.update:
            ranker.update(args.update)
            print(f"\nAfter the update, with the {len(_items(ranker, later))} articles that came since:")
        else:
            print("\nWith articles that it has never seen:")
        _tell(ranker.rank(user, items, args.k, explain=True))


def _rows(path: Path) -> list[Row]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def _part(ranker: Any, row: Row, sides: tuple[str, ...]) -> Row:
    """Return the fields of a row that tell of one side; an empty text is a missing value."""
    return {field.name: row[field.name] for field in ranker.schema.of_side(*sides)}


def _items(ranker: Any, rows: list[Row]) -> list[Row]:
    """Return each article once."""
    found = {row["item_id"]: _part(ranker, row, ("item",)) for row in rows}
    return [found[name] for name in sorted(found)]


def _tell(ranking: Any) -> None:
    for name, score, drops in zip(ranking.ids, ranking.scores, ranking.drop_without, strict=True):
        field, drop = max(drops.items(), key=lambda pair: pair[1])
        print(f"  {name:>6}  score {score:6.2f}, which would be {drop:.2f} lower without {field}")


if __name__ == "__main__":
    main()

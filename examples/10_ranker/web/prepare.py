"""Put beside the page what it shows: a ranker's bundle, and users and candidates from rows of data.

    python prepare.py ranker.edge test.csv -o data

The rows have a column for every field of the ranker's schema, and one that says who the user is.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
from pathlib import Path

from edgekit.bundle import open_bundle
from edgekit.features.folder import unpack_features
from edgekit.features.schema import Schema

USERS = 12
CANDIDATES = 1000


def main() -> None:
    """Write ranker.edge and shop.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path, help="a bundle for a target with ONNX Runtime, best a slim one")
    parser.add_argument("rows", type=Path, help="a CSV file")
    parser.add_argument("-o", "--out", type=Path, default=Path(__file__).parent / "data")
    args = parser.parse_args()
    bundle = open_bundle(args.bundle)
    schema = unpack_features(bundle.features_members(), str(args.bundle)).schema
    shop = shop_of(schema, args.rows)
    args.out.mkdir(parents=True, exist_ok=True)
    shutil.copy(args.bundle, args.out / "ranker.edge")
    (args.out / "shop.json").write_text(json.dumps(shop, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{args.out}: {len(shop['users'])} users, {len(shop['items'])} candidates")


def shop_of(schema: Schema, rows: Path) -> dict[str, list[dict[str, object]]]:
    """Return the first users and the first candidates of a CSV file, each once."""
    users: dict[str, dict[str, object]] = {}
    items: dict[str, dict[str, object]] = {}
    asking = [field.name for field in schema.of_side("user", "context")]
    asked = [field.name for field in schema.of_side("item")]
    with rows.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            user, item = row[schema.user], row[schema.item]
            if user not in users and len(users) < USERS:
                users[user] = {"name": user, "fields": {name: row[name] for name in asking}}
            if item not in items and len(items) < CANDIDATES:
                items[item] = {name: row[name] for name in asked}
    return {"users": list(users.values()), "items": list(items.values())}


if __name__ == "__main__":
    main()

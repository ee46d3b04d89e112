"""MovieLens (ml-latest-small and others of its form) as a ranking task, from files that the user has.

    Source: F. Maxwell Harper and Joseph A. Konstan. The MovieLens Datasets: History and Context. ACM TiiS 5, 4 (2015).
    Licence: GroupLens' own (README.txt beside the data): no commercial use without permission.

A rating of 4 or more is a positive. Every user's ratings are ordered by time: the last 20 % are the test, the 10 %
before them the validation, the rest is for training. What a row tells of the user comes from earlier rows alone. There
is no published split of these data for this task; the figures compare networks here, and nothing else.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import groupby
from pathlib import Path

from .tables import write_csv

LIKED = 4.0
COLUMNS = ("label", "user_id", "movie_id", "genres", "year", "liked", "hour", "weekday", "seen")


@dataclass(frozen=True)
class Rating:
    """One line of ratings.csv; `time` in seconds since 1970."""

    user: int
    movie: str
    stars: float
    time: int


def prepare_movielens(source: Path, folder: Path) -> dict[str, int]:
    """Read ratings.csv and movies.csv, write train.csv, valid.csv and test.csv; return how many rows each has."""
    movies = _movies(source / "movies.csv")
    parts: dict[str, list[tuple[object, ...]]] = {"train": [], "valid": [], "test": []}
    ratings = sorted(_ratings(source / "ratings.csv"), key=lambda each: (each.user, each.time, int(each.movie)))
    for _, group in groupby(ratings, key=lambda each: each.user):
        mine = list(group)
        rows = list(_rows(mine, movies))
        test = len(mine) - round(0.2 * len(mine))
        valid = test - round(0.1 * len(mine))
        parts["train"] += rows[:valid]
        parts["valid"] += rows[valid:test]
        parts["test"] += rows[test:]
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in parts.items():
        write_csv(folder / f"{name}.csv", COLUMNS, rows)
    return {name: len(rows) for name, rows in parts.items()}


def _rows(mine: list[Rating], movies: dict[str, tuple[str, str]]) -> Iterator[tuple[object, ...]]:
    """Yield one user's rows in order of time; ratings of the same second do not see each other."""
    liked: list[str] = []
    for time, group in groupby(mine, key=lambda each: each.time):
        now = list(group)
        when = datetime.fromtimestamp(time, timezone.utc)
        for each in now:
            genres, year = movies.get(each.movie, ("", ""))
            label, past = int(each.stars >= LIKED), "|".join(liked[-20:])
            yield label, each.user, each.movie, genres, year, past, when.hour, when.weekday(), len(liked)
        liked += [each.movie for each in now if each.stars >= LIKED]


def _ratings(path: Path) -> Iterator[Rating]:
    with path.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            yield Rating(int(row["userId"]), row["movieId"], float(row["rating"]), int(row["timestamp"]))


def _movies(path: Path) -> dict[str, tuple[str, str]]:
    """Return movie to its genres and the year in its title, both empty where unknown."""
    found = {}
    with path.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            year = re.search(r"\((\d{4})\)\s*$", row["title"])
            genres = "" if row["genres"] == "(no genres listed)" else row["genres"]
            found[row["movieId"]] = (genres, year[1] if year else "")
    return found

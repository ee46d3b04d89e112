"""A ranker that runs: a user and candidates in, the best candidates out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import DataError, UsageError
from edgekit.extras import not_installed
from edgekit.features.delta import read_delta
from edgekit.features.encode import Encoder
from edgekit.features.folder import Features
from edgekit.features.schema import Schema
from edgekit.features.tables import Table, gather, with_rows
from edgekit.runtime.candidates import Candidates, Catalogue, Places, candidates_of, check_fields
from edgekit.runtime.prepare import Prepare
from edgekit.runtime.session import Runnable, Session
from edgekit.tasks.base import Lane, Task
from edgekit.tasks.ranking import read_scores

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Ranking:
    """The best candidates, the best first; of equal scores the one that was given first.

    Attributes:
        ids: What names them: the values of the schema's item column, or their places where there is no such column.
        places: Where each stands in the candidates that were given, from 0.
        scores: The network's scores, logits, float32.
        drop_without: For each of them, by field: how much lower its score would be with that field missing and all
            others as they are. Negative where it would be higher. It is no sum: fields that say the same thing twice
            may each have a drop near 0. None unless it was asked for.
    """

    ids: list[Any]
    places: list[int]
    scores: list[float]
    drop_without: list[dict[str, float]] | None = None

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class _State:
    """What an update replaces, as a whole."""

    encoder: Encoder
    tables: Mapping[str, Table]
    updates: int = 0


class Ranker(Session):
    """Encoding, embedding tables and engine in one call; closes its engine.

    It keeps nothing between requests. Candidates go through the network in batches of the size that it was exported
    for, the last one filled up, so memory does not grow with their number beyond a score for each.

    Args:
        engine: The loaded model.
        input_name: The model's input.
        preprocessor: Knows the shape of that input.
        heads: The recipe's head name to the name of the model's output.
        task: Decodes the heads.
        head: The head with the scores.
        features: The schema and the tables.
    """

    def __init__(
        self,
        engine: Runnable,
        input_name: str,
        preprocessor: Prepare,
        heads: Mapping[str, str],
        task: Task,
        head: str,
        features: Features,
    ) -> None:
        super().__init__(engine, input_name, preprocessor, heads, task)
        self._head = head
        self._features = features
        self._state = _State(Encoder(features.schema), features.tables)

    @property
    def schema(self) -> Schema:
        """The fields that it reads."""
        return self._features.schema

    @property
    def updates(self) -> int:
        """How many updates were applied since it was loaded."""
        return self._state.updates

    def __call__(self, frame: NDArray[Any]) -> list[Lane]:
        """Refuse: a ranker sees no lanes.

        Raises:
            UsageError: Always.
        """
        raise UsageError(
            problem="This bundle ranks candidates; it finds nothing in a frame.",
            fix="Call rank(user, candidates).",
        )

    def rank(
        self,
        user: Mapping[str, Any],
        candidates: Sequence[Mapping[str, Any]] | Mapping[str, Any] | Catalogue,
        k: int = 20,
        explain: bool = False,
    ) -> Ranking:
        """Return the best candidates for a user.

        An id that was never seen, a missing field and a missing number have rows of their own in the tables. Of
        candidates with the same id the first one is ranked and the others are left out.

        Args:
            user: Field to value, of the fields of the user and of the context. What is left out is missing.
            candidates: A sequence of mappings from field to value, columns by name, or a catalogue.
            k: At most so many; fewer where there are fewer candidates.
            explain: Whether to tell for each of them what its score would be without each field.

        Raises:
            DataError: A field is unknown or of the other side, or a value cannot be one of its field.
            UsageError: `k` is no number above 0, the catalogue is older than an update, or the ranker is closed.
            ArtifactError: The network gives a score that is not finite.
        """
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            raise UsageError(
                problem="So many candidates cannot be returned.", found=f"k = {k!r}", fix="Give 1 or more."
            )
        state = self._state
        base = self._user_rows(state, user)
        given = self._candidates(state, candidates)
        places = given.places
        scores = self._scores(state, base, given, places)
        best = best_of(scores, int(k))
        chosen = places[best]
        ids = given.ids
        return Ranking(
            ids=[ids[place] for place in chosen.tolist()],
            places=chosen.tolist(),
            scores=scores[best].tolist(),
            drop_without=self._drops(state, base, given, chosen, scores[best]) if explain else None,
        )

    def catalogue(self, candidates: Sequence[Mapping[str, Any]] | Mapping[str, Any]) -> Catalogue:
        """Encode candidates once, for many requests: `rank` takes the result, or `.only(ids)` of it.

        After an update it has to be made again, since ids may have got rows of their own.

        Raises:
            DataError: A field is unknown or not of a candidate, or a value cannot be one of its field.
        """
        state = self._state
        given = self._candidates(state, candidates)
        if isinstance(given, Catalogue):
            return given
        return Catalogue(given.ids, given.encoded(np.arange(len(given.ids))), state.updates)

    def update(self, delta: str | Path) -> None:
        """Apply a signed delta: new rows for ids, and rows for new ids. All of it, or where it is refused nothing.

        Raises:
            ArtifactError: It is damaged, unsigned, signed by somebody else, foreign, or not the next one.
            UsageError: A row is too large for its table.
            TargetError: The package cryptography is not installed.
        """
        state = self._state
        try:
            found = read_delta(delta, self._features, state.updates)
        except ModuleNotFoundError as error:
            raise not_installed(error) or error from error
        encoder = state.encoder.with_ids({field: list(rows) for field, rows in found.rows.items()})
        tables = dict(state.tables)
        for field, rows in found.rows.items():
            if rows:
                places = [encoder.row(field, text) for text in rows]
                tables[field] = with_rows(tables[field], places, np.stack(list(rows.values())))
        self._state = _State(encoder, tables, found.number)

    def _candidates(self, state: _State, given: Any) -> Candidates:
        found = candidates_of(self.schema, state.encoder, given)
        if isinstance(found, Catalogue) and found.version != state.updates:
            raise UsageError(
                problem="The catalogue is older than the ranker's last update.",
                found=f"made after {found.version} updates, and {state.updates} were applied",
                fix="Make it again with ranker.catalogue(items).",
            )
        return found

    def _user_rows(self, state: _State, user: Mapping[str, Any]) -> Floats:
        """Return a batch of rows in which the fields of user and context are filled in, the same in each."""
        if not isinstance(user, Mapping):
            raise DataError(
                problem="The user is no mapping from field to value.",
                found=type(user).__name__,
                fix="Give {'field': value, ...}; {} where nothing is known.",
            )
        check_fields(self.schema, user, "user")
        fields = [field.name for field in self.schema.of_side("user", "context")]
        values = {name: [user[name]] for name in fields if name in user}
        rows = np.zeros((self.preprocessor.input_shape[0], self.schema.width), np.float32)
        if fields:
            rows[:] = gather(self.schema, state.tables, state.encoder.encode(values, fields, 1))
        return rows

    def _scores(self, state: _State, base: Floats, given: Candidates, places: Places) -> Floats:
        scores = np.empty(len(places), np.float32)
        batch = len(base)
        for start in range(0, len(places), batch):
            chunk = places[start : start + batch]
            encoded = given.encoded(chunk)
            if encoded:
                gather(self.schema, state.tables, encoded, base[: len(chunk)])
            scores[start : start + batch] = self._run(base)[: len(chunk)]
        return scores

    def _drops(
        self, state: _State, base: Floats, given: Candidates, chosen: Places, scores: Floats
    ) -> list[dict[str, float]]:
        """Return by candidate and field how much lower the score is with the field missing."""
        batch, offsets = len(base), self.schema.offsets
        drops: list[dict[str, float]] = [{} for _ in chosen]
        for start in range(0, len(chosen), batch):
            chunk = chosen[start : start + batch]
            encoded = given.encoded(chunk)
            if encoded:
                gather(self.schema, state.tables, encoded, base[: len(chunk)])
            for field in self.schema.field:
                part = slice(offsets[field.name], offsets[field.name] + field.dimension)
                kept = base[:, part].copy()
                base[:, part] = state.tables[field.name].take(np.zeros(1, np.int32))
                without = self._run(base)
                base[:, part] = kept
                for place, score in enumerate(without[: len(chunk)].tolist(), start):
                    drops[place][field.name] = float(scores[place]) - score
        return drops

    def _run(self, rows: Floats) -> Floats:
        outputs = self.infer(rows)
        return read_scores({head: outputs[name] for head, name in self._heads.items()}, self._head)


def best_of(scores: Floats, count: int) -> Places:
    """Return the places of the greatest scores, the greatest first; of equal ones the first place comes first.

    Only what is returned is sorted.
    """
    if count >= len(scores):
        return np.argsort(-scores, kind="stable")
    least = np.partition(scores, len(scores) - count)[len(scores) - count]
    above = np.flatnonzero(scores > least)
    level = np.flatnonzero(scores == least)[: count - len(above)]
    chosen = np.concatenate([above, level])
    return chosen[np.argsort(-scores[chosen], kind="stable")]

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ranker.distill import Lessons, answers, deal, taught
from ranker.model import Ranker
from ranker.networks import Dense
from ranker.samples import Samples
from ranker.training import Settings, predict, train

from edgekit.features.schema import Field, Schema

SIZE = Dense(hidden=(32,), dropout=0, batch_norm=False)
SCHEMA = Schema(
    name="test",
    label="label",
    field=(
        Field(name="user", kind="categorical", side="user", dimension=4, vocabulary=tuple("abcdefgh")),
        Field(name="item", kind="categorical", side="item", dimension=4, vocabulary=tuple("abcdefgh")),
        Field(name="price", kind="numerical", side="item", dimension=4),
    ),
)


def samples(count: int, seed: int = 0) -> Samples:
    """Users and items of eight each, and a price that belongs to the item."""
    generator = np.random.default_rng(seed)
    user, item = generator.integers(8, size=(2, count))
    rows = np.stack([user + 2, item + 12, np.full(count, 21), np.full(count, 22)], axis=1)
    weights = np.stack([np.ones(count), np.ones(count), item / 8, np.ones(count)], axis=1)
    labels = ((user + item) % 2 ^ (generator.random(count) < 0.2)).astype(np.float32)[:, None]
    return Samples(
        torch.from_numpy(rows).int(), torch.from_numpy(weights).float(), torch.from_numpy(labels), user.astype(np.int64)
    )


def ranker(seed: int) -> Ranker:
    torch.manual_seed(seed)
    return Ranker(SCHEMA, "dnn", SIZE)


@given(st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_dealing_gives_users_other_items_with_all_that_is_theirs(count: int, seed: int) -> None:
    real = samples(count, seed % 1000)
    order = np.random.default_rng(seed).permutation(count)
    dealt = deal(real, SCHEMA, order)
    assert torch.equal(dealt.rows[:, 0], real.rows[:, 0])
    assert torch.equal(dealt.rows[:, 1], real.rows[order][:, 1])
    assert real.weights is not None
    assert dealt.weights is not None
    assert torch.equal(dealt.weights[:, 2], (dealt.rows[:, 1] - 12) / 8)
    assert torch.equal(dealt.weights[:, :2], real.weights[:, :2])


def test_labels_lie_between_what_happened_and_what_teachers_answer() -> None:
    teachers, real = [ranker(1), ranker(2)], samples(50)
    mean = (predict(teachers[0], real).sigmoid() + predict(teachers[1], real).sigmoid()) / 2
    torch.testing.assert_close(answers(teachers, real), mean)
    found = taught(teachers, real, SCHEMA, Lessons(share=0.25, copies=2))
    assert len(found) == 150
    torch.testing.assert_close(found.labels[:50], 0.75 * real.labels + 0.25 * mean)
    torch.testing.assert_close(found.labels[50:], answers(teachers, found.part(50, 150)))
    assert torch.equal(found.rows[:50], real.rows)
    again = taught(teachers, real, SCHEMA, Lessons(share=0.25, copies=2))
    assert torch.equal(again.rows, found.rows)
    other = taught(teachers, real, SCHEMA, Lessons(share=0.25, copies=2, seed=1))
    assert not torch.equal(other.rows, found.rows)


def test_a_student_comes_nearer_to_its_teacher_than_by_the_same_rows_alone() -> None:
    settings = Settings(batch=128, epochs=12, annealing=1, embedding_l2=1e-4, rate=2e-2, average=0, patience=12)
    teacher, real, held_out = ranker(1), samples(60), samples(500, 1)
    train(teacher, samples(2500, 2), held_out, settings)
    apart = []
    for rows in (real, taught([teacher], real, SCHEMA, Lessons(share=1.0, copies=3))):
        student = ranker(3)
        train(student, rows, held_out, settings)
        apart.append(float((predict(student, held_out).sigmoid() - answers([teacher], held_out)).abs().mean()))
    assert apart[1] < 0.7 * apart[0]


def test_a_teacher_of_other_data_is_refused() -> None:
    other = replace_vocabulary(SCHEMA)
    with pytest.raises(ValueError, match="other fields, ids or tasks"):
        taught([ranker(1)], samples(5), other, Lessons())
    two = samples(5)
    with pytest.raises(ValueError, match="other fields, ids or tasks"):
        taught([ranker(1)], replace(two, labels=two.labels.repeat(1, 2)), SCHEMA, Lessons())


@pytest.mark.parametrize("wrong", [{"share": 1.5}, {"share": float("nan")}, {"copies": -1}])
def test_lessons_that_mean_nothing_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="a share from 0 to 1"):
        Lessons(**wrong)  # type: ignore[arg-type]


def test_a_checkpoint_of_other_rows_is_refused(tmp_path: Path) -> None:
    settings = Settings(batch=64, epochs=1, annealing=0, average=0)
    train(ranker(1), samples(60), samples(60, 1), settings, checkpoint=tmp_path / "c.pt")
    with pytest.raises(ValueError, match="other rows or labels"):
        train(ranker(1), samples(60, 2), samples(60, 1), settings, checkpoint=tmp_path / "c.pt")


def replace_vocabulary(schema: Schema) -> Schema:
    user = schema.field[0].model_copy(update={"vocabulary": tuple("abcdefgi")})
    return schema.model_copy(update={"field": (user, *schema.field[1:])})

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ranker.model import Ranker
from ranker.networks import NETWORKS, Mixer
from ranker.samples import Samples
from ranker.saved import load_ranker, save_ranker
from ranker.training import Averaged, Progress, Settings, evaluate, temperature, train

from edgekit.features.schema import Field, Schema

QUICK = Settings(batch=64, epochs=3, annealing=1, embedding_l2=1e-3, rate=3e-3, average=0, decay=10, patience=2)
SIZE = Mixer(tokens=3, width=6, block=6, head=(8,), dropout=0.1, feature_dropout=0)
SCHEMA = Schema(
    name="test",
    label="label",
    field=tuple(
        Field(name=name, kind="categorical", side="user", dimension=4, vocabulary=tuple("abcdefgh")) for name in "xyz"
    ),
)


def samples(count: int, seed: int = 0) -> Samples:
    """Rows whose label depends on two fields together and on neither alone."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(8, (count, 3), generator=generator)
    labels = ((values[:, :1] + values[:, 1:2]) % 2).float()
    rows = values + 2 + torch.tensor([0, 10, 20])
    return Samples(rows.int(), None, labels, np.arange(count) % 5)


def fresh(network: str = "unimixing-lite") -> Ranker:
    torch.manual_seed(3)
    return Ranker(SCHEMA, network, SIZE if isinstance(NETWORKS[network].size, Mixer) else None)


def test_training_finds_an_interaction_and_keeps_the_best_epoch() -> None:
    model = fresh()
    told: list[float] = []
    settings = replace(QUICK, epochs=25, rate=1e-2)
    done = train(
        model,
        samples(2000),
        samples(500, 1),
        settings,
        report=lambda progress, loss, found, rate: told.append(found.auc),
    )
    assert len(told) == done.epoch
    assert done.best == max(told) > 0.95
    assert evaluate(model, samples(500, 1)).auc == pytest.approx(done.best)


def test_the_same_seed_gives_the_same_weights_and_another_one_others() -> None:
    weights = []
    for seed in (0, 0, 1):
        model = fresh()
        train(model, samples(500), samples(200, 1), replace(QUICK, seed=seed))
        weights.append(model.table.detach().clone())
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_a_training_that_was_stopped_ends_as_one_that_was_not(tmp_path: Path, average: float) -> None:
    settings = replace(QUICK, epochs=4, average=average)
    whole = fresh()
    train(whole, samples(500), samples(200, 1), settings)

    class Stopped(Exception):
        pass

    def stop(progress: Progress, *_: object) -> None:
        if progress.epoch == 2:
            raise Stopped

    path = tmp_path / "checkpoint.pt"
    with pytest.raises(Stopped):
        train(fresh(), samples(500), samples(200, 1), settings, checkpoint=path, report=stop)
    resumed = fresh()
    done = train(resumed, samples(500), samples(200, 1), settings, checkpoint=path)
    assert done.epoch == 4
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    train(fresh(), samples(100), samples(100, 1), replace(QUICK, epochs=1), checkpoint=path)
    with pytest.raises(ValueError, match="remove it to start again"):
        train(fresh(), samples(100), samples(100, 1), QUICK, checkpoint=path)


def test_training_stops_where_nothing_improves() -> None:
    noise = replace(samples(300), labels=torch.randint(2, (300, 1), generator=torch.Generator().manual_seed(5)).float())
    done = train(fresh(), noise, replace(noise, labels=1 - noise.labels), replace(QUICK, epochs=40, rate=1e-2))
    assert done.done
    assert done.epoch < 20
    longer = replace(QUICK, epochs=40, rate=1e-2, least_epochs=25)
    assert train(fresh(), noise, replace(noise, labels=1 - noise.labels), longer).epoch > 25


def test_the_temperature_falls_in_a_line_and_stays() -> None:
    settings = Settings(tau=(1.0, 0.05))
    assert [temperature(settings, step, 100) for step in (0, 50, 100, 1000)] == pytest.approx([1, 0.525, 0.05, 0.05])
    assert temperature(settings, 0, 0) == 0.05


def test_the_average_starts_at_once_and_lags() -> None:
    model = torch.nn.Linear(1, 1)
    model.weight.data.fill_(0)
    averaged = Averaged(model, 0.99)
    model.weight.data.fill_(1)
    averaged.update(model)
    assert float(averaged.model.weight) == pytest.approx(1 - 1 / 5)
    for _ in range(2000):
        averaged.update(model)
    assert float(averaged.model.weight) == pytest.approx(1)


def test_a_ranker_is_saved_with_all_that_builds_it(tmp_path: Path) -> None:
    model = fresh().eval()
    save_ranker(tmp_path / "model.pt", model, ("label",))
    again, tasks = load_ranker(tmp_path / "model.pt")
    rows = samples(10).rows
    assert tasks == ("label",)
    assert torch.equal(model(rows), again(rows))

"""Training a ranker: early stopping, weight averaging, temperature, checkpoints that resume to the same result."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .metrics import Quality, quality
from .model import Ranker, set_temperature
from .samples import Samples


@dataclass(frozen=True)
class Settings:
    """How to train.

    The defaults are BARS' protocol for Frappe_x1 with two changes: the rate stays as it is, and a moving average of the
    weights is what is validated and kept. `PUBLISHED` is that protocol itself.

    Attributes:
        embedding_l2: Strength of (l2 / 2) * |table|^2, over the whole table as in FuxiCTR.
        patience: Epochs in a row without a better validation AUC until the end.
        least_epochs: Epochs before such an epoch counts.
        decay: What each of these epochs divides the rate by.
        average: Decay per step of the moving average of all weights that is validated and kept; 0: no averaging.
        tau: First and last temperature of the mixing matrices.
        annealing: Epochs over which the temperature falls.
    """

    batch: int = 4096
    rate: float = 1e-3
    embedding_l2: float = 0.05
    weight_decay: float = 0.0
    epochs: int = 100
    patience: int = 3
    least_epochs: int = 0
    decay: float = 1.0
    least_rate: float = 1e-6
    average: float = 0.998
    tau: tuple[float, float] = (1.0, 0.05)
    annealing: int = 3
    seed: int = 0


PUBLISHED = Settings(patience=2, decay=10.0, average=0.0)
"""Without a better validation AUC the rate is divided by ten; the second time in a row ends it (BARS, FuxiCTR)."""


@dataclass
class Progress:
    """Where a training stands, apart from weights."""

    epoch: int = 0
    best: float = float("-inf")
    best_epoch: int = 0
    stalled: int = 0
    seconds: float = 0.0
    done: bool = False


Report = Callable[[Progress, float, Quality, float], None]
"""Called after an epoch with the progress, mean training loss, validation figures and the rate."""


class Averaged:
    """A moving average of a model's weights and buffers; early steps weigh more, so that it starts at once."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model, self.decay, self.steps = copy.deepcopy(model).eval().requires_grad_(False), decay, 0

    def update(self, model: nn.Module) -> None:
        """Take in the weights after a step."""
        self.steps += 1
        share = 1 - min(self.decay, self.steps / (self.steps + 4))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.model.parameters()), list(model.parameters()), share)
            for kept, now in zip(self.model.buffers(), model.buffers(), strict=True):
                kept.lerp_(now, share) if kept.is_floating_point() and kept.dim() else kept.copy_(now)


def train(
    model: Ranker,
    samples: Samples,
    held_out: Samples,
    settings: Settings,
    *,
    checkpoint: Path | None = None,
    report: Report | None = None,
) -> Progress:
    """Train a ranker in place; it ends with the weights of the epoch that validated best.

    Args:
        model: The ranker, on the device to train on.
        samples: What to learn from.
        held_out: What to validate on: the mean AUC over tasks counts.
        settings: How.
        checkpoint: A file that is written after every epoch, and gone on from where it exists.
        report: Told of every epoch.
    """
    device = model.table.device
    samples, held_out = samples.to(device), held_out.to(device)
    dense = [parameter for name, parameter in model.named_parameters() if name != "table"]
    groups = [{"params": dense, "weight_decay": settings.weight_decay}, {"params": [model.table]}]
    optimizer = torch.optim.Adam(groups, settings.rate, fused=True)
    averaged = Averaged(model, settings.average) if settings.average else None
    progress, kept = Progress(), copy.deepcopy(model.state_dict())
    if checkpoint is not None and checkpoint.exists():
        progress, kept = _restore(checkpoint, settings, samples, model, optimizer, averaged)
    steps = -(-len(samples) // settings.batch)
    while progress.epoch < settings.epochs and not progress.done:
        start = time.perf_counter()
        loss = _epoch(model, samples, optimizer, averaged, settings, progress.epoch, steps)
        judged = averaged.model if averaged else model
        figures = [evaluate(judged, held_out, task) for task in range(held_out.labels.shape[1])]
        found = float(np.mean([each.auc for each in figures]))
        progress.epoch += 1
        if found > progress.best + 1e-6:
            progress.best, progress.best_epoch, progress.stalled = found, progress.epoch, 0
            kept = copy.deepcopy(judged.state_dict())
        elif progress.epoch > max(settings.least_epochs, settings.annealing * _mixes(model)):
            # While the matrices still sharpen, a worse epoch says nothing yet.
            progress.stalled += 1
            for group in optimizer.param_groups:
                group["lr"] = max(group["lr"] / settings.decay, settings.least_rate)
        progress.done = progress.stalled >= settings.patience
        progress.seconds += time.perf_counter() - start
        if checkpoint is not None:
            _save(checkpoint, settings, samples, progress, kept, model, optimizer, averaged)
        if report is not None:
            report(progress, loss, figures[0], optimizer.param_groups[0]["lr"])
    model.load_state_dict(kept)
    model.eval()
    return progress


def _mixes(model: Ranker) -> bool:
    return any(name.endswith("tau") for name, _ in model.named_buffers())


def _epoch(
    model: Ranker,
    samples: Samples,
    optimizer: torch.optim.Optimizer,
    averaged: Averaged | None,
    settings: Settings,
    epoch: int,
    steps: int,
) -> float:
    """Train for one epoch and return the mean loss. Order and dropout depend on seed and epoch alone."""
    torch.manual_seed(settings.seed * 100_003 + epoch)
    order = torch.randperm(len(samples)).to(samples.rows.device)
    model.train()
    total = torch.zeros((), device=samples.rows.device)
    for step in range(steps):
        set_temperature(model, temperature(settings, epoch * steps + step, settings.annealing * steps))
        chosen = order[step * settings.batch : (step + 1) * settings.batch]
        weights = None if samples.weights is None else samples.weights[chosen]
        logits = model(samples.rows[chosen], weights)
        loss = nn.functional.binary_cross_entropy_with_logits(logits, samples.labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        assert model.table.grad is not None  # every batch reads the table
        model.table.grad.add_(model.table.detach(), alpha=settings.embedding_l2)
        optimizer.step()
        if averaged is not None:
            averaged.update(model)
        total += loss.detach()
    return float(total) / steps


def temperature(settings: Settings, step: int, steps: int) -> float:
    """Return the temperature at a step: it falls linearly over `steps`, then stays (METHODS B.8)."""
    first, last = settings.tau
    return max(first - (first - last) * step / steps, last) if steps else last


@torch.no_grad()
def predict(model: Ranker, samples: Samples, batch: int = 16384) -> Tensor:
    """Return logits (N, tasks)."""
    model.eval()
    out = []
    for start in range(0, len(samples), batch):
        weights = None if samples.weights is None else samples.weights[start : start + batch]
        out.append(model(samples.rows[start : start + batch], weights))
    return torch.cat(out)


def evaluate(model: Ranker, samples: Samples, task: int = 0) -> Quality:
    """Return the figures of one task."""
    logits: NDArray[np.float32] = predict(model, samples)[:, task].cpu().numpy()
    return quality(logits, samples.labels[:, task].cpu().numpy(), samples.users)


def _save(
    path: Path,
    settings: Settings,
    samples: Samples,
    progress: Progress,
    kept: dict[str, Any],
    model: Ranker,
    optimizer: torch.optim.Optimizer,
    averaged: Averaged | None,
) -> None:
    state: dict[str, Any] = {
        "settings": asdict(settings),
        "samples": samples.fingerprint(),
        "progress": asdict(progress),
        "kept": kept,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    if averaged is not None:
        state["averaged"] = {"model": averaged.model.state_dict(), "steps": averaged.steps}
    beside = path.with_suffix(".part")
    torch.save(state, beside)
    beside.replace(path)


def _restore(
    path: Path,
    settings: Settings,
    samples: Samples,
    model: Ranker,
    optimizer: torch.optim.Optimizer,
    averaged: Averaged | None,
) -> tuple[Progress, dict[str, Any]]:
    state = torch.load(path, map_location=model.table.device)
    if state["settings"] != asdict(settings):
        message = f"{path} was trained with {state['settings']}, not with {asdict(settings)}: remove it to start again"
        raise ValueError(message)
    if state["samples"] != samples.fingerprint():
        message = f"{path} was trained on other rows or labels: remove it to start again"
        raise ValueError(message)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    if averaged is not None:
        averaged.model.load_state_dict(state["averaged"]["model"])
        averaged.steps = state["averaged"]["steps"]
    return Progress(**state["progress"]), state["kept"]

"""A trained ranker as one file: weights, and all that is needed to build the network again."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from edgekit.features.schema import Schema

from .model import Ranker
from .networks import NETWORKS


def save_ranker(path: Path, model: Ranker, tasks: tuple[str, ...]) -> None:
    """Write a ranker; an interrupted write leaves what was there."""
    state = {
        "network": model.name,
        "size": asdict(model.size),
        "schema": model.schema.model_dump(mode="json", exclude_unset=True),
        "tasks": list(tasks),
        "weights": model.state_dict(),
    }
    beside = path.with_suffix(".part")
    torch.save(state, beside)
    beside.replace(path)


def load_ranker(path: Path) -> tuple[Ranker, tuple[str, ...]]:
    """Return a ranker on the CPU, and the columns that its answers stand for."""
    state: dict[str, Any] = torch.load(path, map_location="cpu")
    kind = type(NETWORKS[state["network"]].size)
    tasks = tuple(state["tasks"])
    model = Ranker(Schema.model_validate(state["schema"]), state["network"], kind(**state["size"]), len(tasks))
    model.load_state_dict(state["weights"])
    return model.eval(), tasks

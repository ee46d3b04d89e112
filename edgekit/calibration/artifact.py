"""The calibration folder: what `calibrate` writes and every later stage reads."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.calibration.scales import Scales, read_scales
from edgekit.errors import ArtifactError
from edgekit.features.folder import features_members
from edgekit.recipes import Recipe
from edgekit.schema import Schema, parse
from edgekit.targets import Target

SCALES = "scales.json"
FP_MODEL = "model.fp.onnx"
QDQ_MODEL = "model.qdq.onnx"
REPORT = "report.json"
RECIPE = "recipe.json"
TARGET = "target.json"
OBSERVATIONS = "observations.npz"
GOLDEN = "golden.npz"
WORST = "worst"
SENSITIVITY = "sensitivity.png"
FEATURES = "features"

FILES = (SCALES, FP_MODEL, QDQ_MODEL, REPORT, RECIPE, TARGET, OBSERVATIONS, GOLDEN)
"""What a later stage reads. `WORST`, a folder of pictures, and the chart `SENSITIVITY` are for people.

`FEATURES` is there for a ranker alone: the schema and the tables that its input is made of.
"""


@dataclass(frozen=True)
class GoldenInput:
    """A network input that later stages replay.

    Attributes:
        frame: Name of the frame that it was made from.
        frame_size: That frame's height and width in px.
        input: float32, of the model's input shape.
    """

    frame: str
    frame_size: tuple[int, int]
    input: NDArray[np.float32]


@dataclass(frozen=True)
class Calibration:
    """A calibration folder.

    Attributes:
        folder: Where it lies.
        scales: The content of scales.json.
        recipe: The recipe that it was made with.
        target: The target that it was made for.
        report: The content of report.json.
    """

    folder: Path
    scales: Scales
    recipe: Recipe
    target: Target
    report: dict[str, Any]

    @classmethod
    def open(cls, folder: str | Path) -> Calibration:
        """Open a folder that `edgekit calibrate` wrote.

        Raises:
            ArtifactError: It is no such folder, or a file in it is missing or damaged.
        """
        folder = Path(folder)
        missing = [name for name in FILES if not (folder / name).is_file()]
        if missing:
            raise ArtifactError(
                problem=f"{folder} is not a calibration.",
                found=f"no {', '.join(missing)} in it" if folder.is_dir() else "no such folder",
                fix="Give the folder that `edgekit calibrate -o` wrote.",
            )
        return cls(
            folder=folder,
            scales=read_scales(folder / SCALES),
            recipe=_read(Recipe, folder / RECIPE),
            target=_read(Target, folder / TARGET),
            report=_read_json(folder / REPORT),
        )

    @property
    def fp_model(self) -> Path:
        """The cleaned model in floating point."""
        return self.folder / FP_MODEL

    @property
    def qdq_model(self) -> Path:
        """The model with explicit Q/DQ under the target's rules."""
        return self.folder / QDQ_MODEL

    @property
    def observations(self) -> Path:
        """The histograms that scales are chosen from."""
        return self.folder / OBSERVATIONS

    def features(self) -> dict[str, bytes]:
        """Return the files of a ranker's features by name; none of other networks.

        Raises:
            ArtifactError: One is missing.
        """
        folder = self.folder / FEATURES
        return features_members(folder) if folder.is_dir() else {}

    @cached_property
    def _golden(self) -> list[GoldenInput]:
        return read_golden(self.folder / GOLDEN)

    def golden(self) -> list[GoldenInput]:
        """Return the inputs that later stages replay."""
        return self._golden


def golden_bytes(golden: list[GoldenInput]) -> bytes:
    """Return the content of golden.npz."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        frames=np.array([one.frame for one in golden]),
        sizes=np.array([one.frame_size for one in golden], np.int64),
        inputs=np.stack([one.input for one in golden]),
    )
    return buffer.getvalue()


def read_golden(path: Path) -> list[GoldenInput]:
    """Read golden.npz.

    Raises:
        ArtifactError: It is damaged.
    """
    try:
        with path.open("rb") as stream, np.load(stream) as archive:
            rows = zip(archive["frames"].tolist(), archive["sizes"].tolist(), archive["inputs"], strict=True)
            return [GoldenInput(frame, (height, width), values) for frame, (height, width), values in rows]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ArtifactError(
            problem=f"{path} cannot be read.", found=str(error), fix="Calibrate again: the folder is damaged."
        ) from error


def _read(schema: type[Schema], path: Path) -> Schema:
    return parse(schema, _read_json(path), str(path), ArtifactError)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(
            problem=f"{path} cannot be read.", found=str(error), fix="Calibrate again: the folder is damaged."
        ) from error

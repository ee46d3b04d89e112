"""Sensitivity analysis: which head, which group of layers and which layer distorts the lanes when it is quantized.

The cost is bounded. The floating-point network runs once on a small subset of the frames. Groups of layers come first;
one that distorts next to nothing on the first frames is not looked at any further, and only inside the groups that
matter is it told layer by layer. `plan` says beforehand how many runs that takes at most.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnx

from edgekit.calibration.distortion import unit_of
from edgekit.calibration.focus import foreground
from edgekit.calibration.judging.probe import NOTHING, Heads, Probe, Reading, expected
from edgekit.calibration.selection.groups import label_of, layer_groups
from edgekit.calibration.selection.variants import Precision, Variants
from edgekit.graph.cost import node_costs
from edgekit.graph.reference import ReferenceRun
from edgekit.progress import Progress, silent

SCHEMA_VERSION = 2


@dataclass(frozen=True)
class Options:
    """Bounds of the analysis.

    Attributes:
        groups: Aim for at most so many groups of layers.
        refine: At most so many groups are told layer by layer, the worst ones.
        harmless: A group is not looked at further once its distortion is below this share of everything's.
        trust: Weight of the measured distortion against the one expected from noise (see `probe`), 0 to 1.
        threads: Threads of an operator; 0 leaves it to the engine.
    """

    groups: int = 12
    refine: int = 4
    harmless: float = 0.1
    trust: float = 0.25
    threads: int = 0


@dataclass(frozen=True)
class HeadSensitivity:
    """What it costs to replace one head by its quantized output, the others in floating point.

    Attributes:
        name: The head.
        role: Its role in the recipe.
        distortion: With the whole head replaced.
        foreground: With only that part replaced that post-processing reads.
        background: With only the rest replaced.
    """

    name: str
    role: str
    distortion: float
    foreground: float
    background: float


@dataclass(frozen=True)
class UnitSensitivity:
    """What it costs to quantize a group of layers, or one layer.

    Attributes:
        name: What the names of its nodes have in common.
        nodes: Its nodes.
        macs_share: Its share of the model's multiply-accumulates.
        only: Distortion with nothing else quantized.
        only_expected: The same as its noise lets one expect.
        without: Distortion with everything quantized but this; none where it was not measured.
        without_expected: The same as the noise lets one expect.
        frames: Frames that `only` was measured on: fewer than all where it was found harmless.
    """

    name: str
    nodes: tuple[str, ...]
    macs_share: float
    only: float
    only_expected: float
    without: float | None
    without_expected: float | None
    frames: int


@dataclass(frozen=True)
class Sensitivity:
    """The result of an analysis.

    Attributes:
        unit: Of all distortions, as `edgekit.calibration.distortion.unit_of` names it.
        precision: What is analysed. Of 4 bit, layers that are not quantized alone have 8 bit, and not floating point.
        frames: Names of the frames.
        everything: Distortion with everything quantized that the target's rules quantize.
        heads: In the recipe's order.
        groups: In graph order.
        layers: Those inside the groups that matter, in graph order.
        models: Quantized models that were run.
        runs: Runs of them.
    """

    unit: str
    precision: Precision
    frames: tuple[str, ...]
    everything: float
    heads: tuple[HeadSensitivity, ...]
    groups: tuple[UnitSensitivity, ...]
    layers: tuple[UnitSensitivity, ...]
    models: int
    runs: int

    def to_json(self) -> dict[str, Any]:
        """Return plain data for report.json and `edgekit.report.sensitivity`."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}


def analyse(analysis: Analysis, progress: Progress = silent) -> Sensitivity:
    """Measure heads, groups of layers, and the layers inside the groups that matter.

    Raises:
        ArtifactError: A quantized variant gives values that are not finite.
    """
    options = analysis.options
    heads = analysis.heads()
    groups = layer_groups(analysis.variants.nodes, options.groups)
    found = []
    for index, group in enumerate(groups):
        found.append(analysis.unit(group, label_of(group, groups)))
        progress("sensitivity of groups", index + 1, len(groups))
    matter = [unit for unit in found if len(unit.nodes) > 1 and unit.without is not None]
    worst = sorted(matter, key=lambda unit: -analysis.blend(unit.only, unit.only_expected))[: options.refine]
    inside = [node for unit in found if unit in worst for node in unit.nodes]
    layers = []
    for index, node in enumerate(inside):
        layers.append(analysis.unit((node,), node))
        progress("sensitivity of layers", index + 1, len(inside))
    return Sensitivity(
        unit=unit_of(analysis.probe.recipe.decoder.family),
        precision=analysis.variants.precision,
        frames=tuple(sample.frame for sample in analysis.probe.samples),
        everything=analysis.everything.mean,
        heads=heads,
        groups=tuple(found),
        layers=tuple(layers),
        models=analysis.models,
        runs=analysis.runs,
    )


class Analysis:
    """Reads variants and counts the runs; the selection goes on with it where the analysis has ended.

    Attributes:
        everything: The reading with everything quantized.
        shares: Head to the distortion that it alone causes then.
        models: Quantized models read so far.
        runs: Runs of them.
    """

    def __init__(self, probe: Probe, variants: Variants, options: Options | None = None) -> None:
        self.probe = probe
        self.variants = variants
        self.options = options or Options()
        self.models = 0
        self.runs = 0
        run = self._load(variants.without(()))
        self._outputs = [probe.heads_of(run(sample.input)) for sample in probe.samples]
        self.everything = probe.compare(self._outputs)
        self.runs += len(self._outputs)
        self.shares = {head: self._replaced(head, None) for head in probe.samples[0].heads}
        costs = node_costs(variants.model)
        self._macs = {cost.name: cost.macs for cost in costs}

    def heads(self) -> tuple[HeadSensitivity, ...]:
        """Replace one head at a time by its quantized output; these take no further run."""
        roles = {name: str(head.role) for name, head in self.probe.recipe.heads.items()}
        return tuple(
            HeadSensitivity(
                head, roles.get(head, "output"), whole, self._replaced(head, True), self._replaced(head, False)
            )
            for head, whole in self.shares.items()
        )

    def unit(self, nodes: tuple[str, ...], name: str) -> UnitSensitivity:
        """Quantize only some nodes; where that harms, everything but them as well."""
        only = self._only(nodes)
        harms = len(only.distortion) == len(self.probe.samples) and not self._is_harmless(only)
        without = self.without(nodes) if harms else None
        return UnitSensitivity(
            name=name,
            nodes=nodes,
            macs_share=self.macs_share(nodes),
            only=only.mean,
            only_expected=self.expected(only),
            without=without.mean if without else None,
            without_expected=self.expected(without) if without else None,
            frames=len(only.distortion),
        )

    def without(self, keep: Collection[str]) -> Reading:
        """Read everything quantized but some nodes, on all samples."""
        return self._read(self._load(self.variants.without(keep)), 0, len(self.probe.samples))

    def expected(self, reading: Reading) -> float:
        """Return the distortion that a reading's noise lets one expect."""
        return expected(reading, self.everything, self.shares)

    def blend(self, measured: float, from_noise: float) -> float:
        """Return the figure that decides: the measured distortion, steadied by the expected one."""
        return self.options.trust * measured + (1 - self.options.trust) * from_noise

    def macs_share(self, nodes: Collection[str]) -> float:
        """Return the share of nodes in the model's multiply-accumulates."""
        return sum(self._macs[name] for name in nodes) / max(sum(self._macs.values()), 1)

    def _only(self, nodes: Collection[str]) -> Reading:
        """Read on a quarter, half and all of the samples, as long as it is not harmless."""
        run = self._load(self.variants.only(nodes))
        count = len(self.probe.samples)
        reading = Reading()
        for stop in sorted({max(1, count // 4), max(1, count // 2), count}):
            reading = reading + self._read(run, len(reading.distortion), stop)
            if self._is_harmless(reading):
                break
        return reading

    def _is_harmless(self, reading: Reading) -> bool:
        limit = self.options.harmless * self.everything.first(len(reading.distortion)).mean
        return self.blend(reading.mean, self.expected(reading)) <= max(limit, NOTHING)

    def _replaced(self, head: str, part: bool | None) -> float:
        """Return the mean distortion with one head replaced: all of it, its foreground, or its background."""
        values = []
        for sample, outputs in zip(self.probe.samples, self._outputs, strict=True):
            new = outputs[head]
            if part is not None:
                where = foreground(self.probe.recipe, sample.heads)[head] == part
                new = np.where(where, new, sample.heads[head])
            heads: Heads = {**sample.heads, head: new}
            values.append(self.probe.distortion(sample, heads))
        return float(np.mean(values))

    def _load(self, model: onnx.ModelProto) -> ReferenceRun:
        self.models += 1
        return ReferenceRun(model, self.options.threads)

    def _read(self, run: ReferenceRun, start: int, stop: int) -> Reading:
        self.runs += stop - start
        return self.probe.read(run, start, stop)

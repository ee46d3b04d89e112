"""The placement table: what a bundle computes in 8 bit, what in floating point, and what either takes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgekit.schema import Strict

Origin = Literal["measured", "remote", "estimated"]
"""Where the decision comes from: `estimated` is the target's rules alone, which bring no times with them."""


class Times(Strict):
    """Two medians of whole runs that were measured in turn, and their ratio."""

    float_us: float = Field(description="microseconds of the variant with more floating point")
    int8_us: float = Field(description="microseconds of the variant with more 8 bit")
    speedup: float = Field(description="float_us / int8_us")
    low: float = Field(description="lower end of its 95 % interval")
    high: float = Field(description="upper end of its 95 % interval")


class PlacementRow(Strict):
    """Nodes that are decided on together.

    Times are those of the whole model with these nodes in floating point and in 8 bit, all others as they are placed:
    what an engine fuses or reorders at their edges is part of what they cost.
    """

    group: str
    nodes: tuple[str, ...]
    precision: str
    origin: Origin
    times: Times | None = Field(description="absent where nothing was measured")
    why: str


class Whole(Strict):
    """The whole model, measured in turn."""

    rules: Times = Field(description="everything in 8 bit that the target's rules and the calibration want so")
    placed: Times = Field(description="as placed, against f32")
    bf16: Times | None = Field(description="as placed, against bf16; absent where the engine or the CPU has none")


class PlacementTable(Strict):
    """Which nodes of a bundle run in which precision, and why."""

    origin: Origin
    engine: str = Field(default="", description="engine and version that was measured")
    processor: str = Field(default="", description="CPU that was measured on")
    threads: int | None = None
    seconds: float | None = Field(default=None, description="what the search took")
    complete: bool = Field(default=True, description="whether the search came to its end within its time")
    macs_share: float = Field(description="share of the multiply-accumulates in 8 bit")
    whole: Whole | None = None
    rows: tuple[PlacementRow, ...]
    notes: tuple[str, ...] = ()

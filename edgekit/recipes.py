"""Recipes (calib/*.toml): what a model family's outputs mean, and the ordered steps that calibrate it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from edgekit.errors import UsageError
from edgekit.resources import find
from edgekit.schema import Strict, parse, read_toml

Role = Literal["confidence", "geometry", "offset", "embedding", "existence", "mask", "score", "output"]
RangeMethod = Literal["min-max", "percentile", "mse", "entropy"]
Triple = tuple[float, float, float]
Effort = Literal["quick", "standard", "max"]
Bits = Literal["w8a8", "w4a8", "w4a4"]


class Preprocessing(Strict):
    """From a camera frame (H x W x 3, uint8, BGR) to the network's input, in the order of the fields.

    A ranker's rows of floats (`kind = "features"`) are its input as they are; no other key belongs to them.
    """

    kind: Literal["image", "features"] = "image"
    crop_top: float = Field(default=0.0, ge=0.0, lt=1.0, description="fraction of the height cut away at the top")
    fit: Literal["stretch", "letterbox"] = "stretch"
    size: tuple[int, int] | None = Field(default=None, description="height, width; absent: as the model's input says")
    interpolation: Literal["linear", "area", "cubic", "nearest"] = "linear"
    color: Literal["bgr", "rgb"] = "rgb"
    divide_by: float = Field(default=255.0, gt=0)
    mean: Triple = (0.0, 0.0, 0.0)
    std: Triple = (1.0, 1.0, 1.0)
    layout: Literal["nchw", "nhwc"] = "nchw"

    @model_validator(mode="after")
    def _features_stay_as_they_are(self) -> Preprocessing:
        fields = type(self).model_fields
        others = sorted(name for name in fields if name != "kind" and getattr(self, name) != fields[name].default)
        if self.kind == "features" and others:
            message = f"features are not prepared like images: remove {', '.join(others)}"
            raise ValueError(message)
        return self

    @model_serializer(mode="wrap")
    def _of_its_kind(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {"kind": "features"} if self.kind == "features" else serialize(self)


class Head(Strict):
    """One output of the network and what post-processing reads from it."""

    role: Role
    output: str = Field(default="", description="name of the model's output; absent: the head's own name")
    confidence: str = Field(default="", description="name of the head that says where this one counts")
    label: str = Field(default="", description="what a mask shows, for instance lane")


class CurveDecoder(Strict):
    """Curve queries (LSTR): the class scores and eight curve parameters per query."""

    family: Literal["curve"]
    lane_class: int = Field(default=1, ge=0, description="a query is kept where this class wins")
    points: int = Field(default=72, ge=2, description="points drawn along a curve")


class RowAnchorDecoder(Strict):
    """Row anchors: a column is chosen per lane slot and row.

    `existence` reads a head that says whether a row holds a point, and an offset within the column (QuantLaneNet).
    `background-column` has one column more that stands for "no lane", and takes the expected column (UFLD).
    """

    family: Literal["row-anchor"]
    style: Literal["existence", "background-column"] = "existence"
    threshold: float = Field(default=0.5, ge=0, le=1, description="least existence of a row")
    stride_x: float = Field(default=8.0, gt=0, description="input px per column")
    stride_y: float = Field(default=8.0, gt=0, description="input px per row")
    first_y: float = Field(default=3.5, description="input px of row 0")
    rows: tuple[float, ...] = Field(default=(), description="row anchors as fractions of the input height, top first")
    min_points: int = Field(default=2, ge=2)


class KeypointDecoder(Strict):
    """Key points on a grid that an embedding joins into lanes (PINet)."""

    family: Literal["keypoint"]
    threshold: float = Field(default=0.81, ge=0, le=1)
    stride: float = Field(default=8.0, gt=0, description="input px per grid cell")
    max_distance: float = Field(default=0.08, gt=0, description="largest norm of (f - m)^2 that joins a cluster")
    max_lanes: int = Field(default=12, ge=1)
    min_points: int = Field(default=6, ge=2)


class LineAnchorDecoder(Strict):
    """Line anchors with x offsets at fixed rows and non-maximum suppression (LaneATT)."""

    family: Literal["line-anchor"]
    threshold: float = Field(default=0.5, ge=0, le=1)
    nms_distance: float = Field(default=50.0, gt=0, description="mean |dx| in input px under which two lines are one")
    max_lanes: int = Field(default=4, ge=1)
    offsets: int = Field(default=72, ge=2, description="rows that an anchor is sampled at, bottom first")


class SegmentationDecoder(Strict):
    """Masks by the winning class; lanes by connected regions of the lane mask (TwinLiteNet, SCNN, RESA)."""

    family: Literal["segmentation"]
    lane_label: str = "lane"
    min_height: float = Field(default=0.05, gt=0, lt=1, description="least height of a lane, fraction of the input")
    row_step: int = Field(default=4, ge=1, description="input px between two points of a lane")


class RankingDecoder(Strict):
    """Scores of candidates, of which the greatest is shown first."""

    family: Literal["ranking"]
    top: int = Field(default=20, ge=1, description="candidates that count as the head of the list")
    ndcg: int = Field(default=10, ge=1, description="places that NDCG is computed over")


class GenericDecoder(Strict):
    """No meaning known: outputs are compared as tensors."""

    family: Literal["generic"]


Decoder = Annotated[
    CurveDecoder
    | RowAnchorDecoder
    | KeypointDecoder
    | LineAnchorDecoder
    | SegmentationDecoder
    | RankingDecoder
    | GenericDecoder,
    Field(discriminator="family"),
]


class Camera(Strict):
    """Where the camera is mounted: turns a shift in px of the frame into centimetres on a flat road.

    The numbers hold for frames of one size. Frames that were resized after the camera was measured need their own.
    """

    focal_px: float = Field(gt=0, description="focal length in px of the frame")
    height_m: float = Field(gt=0, description="height of the lens above the road, metres")
    pitch_deg: float = Field(default=0.0, gt=-45, lt=45, description="tilt; positive where it looks down")
    principal_point: tuple[float, float] | None = Field(
        default=None, description="x, y of the optical axis in px of the frame; absent: the frame's centre"
    )


class Gates(Strict):
    """Limits that the calibrated model is held to, against the floating-point model. Absent: not gated."""

    max_lateral_px: float | None = Field(default=None, gt=0)
    min_f1: float | None = Field(default=None, ge=0, le=1)
    min_iou: float | None = Field(default=None, ge=0, le=1)
    min_sqnr_db: float | None = None
    min_ndcg: float | None = Field(default=None, ge=0, le=1, description="against the list in floating point")
    min_auc: float | None = Field(default=None, ge=0, le=1, description="at telling that list's head from its rest")
    min_top_overlap: float | None = Field(default=None, ge=0, le=1, description="share of that list's head kept")
    max_order_change: float | None = Field(default=None, ge=0, le=1, description="weighted share of pairs that swap")


class EqualizeStep(Strict):
    """Scale channels so that 8 bit serves them all alike, and put pixels on the grid: the network computes the same."""

    step: Literal["equalize"]
    frames: int = Field(default=24, ge=1, description="at most so many frames, half of them to check the result")


class ObserveStep(Strict):
    """Run the floating-point model over the frames and collect a histogram of every activation."""

    step: Literal["observe"]
    frames: int = Field(default=256, ge=1, description="at most so many frames, spread evenly over the data")


class ScaleStep(Strict):
    """Choose a range, and by it scale and zero point, for every tensor that the target quantizes."""

    step: Literal["scale"]
    activations: RangeMethod = "mse"
    weights: Literal["min-max", "mse"] = "min-max"
    narrow_weights: Literal["min-max", "mse"] = Field(default="mse", description="of weights with less than 8 bit")
    percentile: float = Field(default=99.99, gt=50, le=100)


class SelectStep(Strict):
    """Sensitivity Aware Selection: leave in the target's higher precision what bends lanes most for its cost."""

    step: Literal["select"]
    frames: int = Field(default=12, ge=1, description="frames that distortion is measured on, evenly spread")
    cost: Literal["time", "macs"] = Field(
        default="time",
        description="what keeping layers costs: time, as estimated for feature maps, or their MACs alone",
    )
    max_slowdown: float = Field(default=0.03, ge=0, description="largest loss of time, as estimated")
    min_macs_share: float = Field(default=0.9, ge=0, le=1, description="share of the MACs in 8 bit that must stay so")
    max_rounds: int = Field(default=8, ge=1)

    @model_validator(mode="after")
    def _time_is_estimated_or_left_alone(self) -> SelectStep:
        # A recipe that a bundle holds gives every key, so only a value that is not the default was asked for.
        if self.cost == "macs" and self.max_slowdown != type(self).model_fields["max_slowdown"].default:
            message = 'max_slowdown limits time, which cost = "macs" does not estimate: remove one of them'
            raise ValueError(message)
        return self


class ReconstructStep(Strict):
    """Learn rounding, activation scales and biases so that the heads come out as in floating point (needs torch)."""

    step: Literal["reconstruct"]
    unit: Literal["network", "block"] = Field(default="network", description="learned at once")
    steps: int = Field(default=120, ge=1, description="steps of Adam per unit")
    frames: int = Field(default=128, ge=1, description="at most so many frames, a part of them held out")
    focus: bool = Field(default=True, description="Semantic Guided Focus: errors count where lanes are read")
    select: bool = Field(default=True, description="heads count by how much their error bends lanes")
    correct_bias: bool = Field(default=True, description="take back mean errors before learning")


Step = Annotated[EqualizeStep | ObserveStep | ScaleStep | SelectStep | ReconstructStep, Field(discriminator="step")]


class Recipe(Strict):
    """How one model family is preprocessed, decoded, calibrated and gated."""

    name: str
    title: str
    models: tuple[str, ...] = Field(default=(), description="public models of this family")
    preprocessing: Preprocessing = Preprocessing()
    heads: dict[str, Head] = Field(default_factory=dict)
    decoder: Decoder
    gates: Gates = Gates()
    operators: tuple[Literal["Conv", "ConvTranspose", "Gemm", "MatMul"], ...] = Field(
        default=(), description="computed in 8 bit besides those of the target's rules, which suit camera networks"
    )
    camera: Camera | None = Field(default=None, description="absent: shifts are given in px alone")
    step: tuple[Step, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _confidence_is_a_head(self) -> Recipe:
        for name, head in self.heads.items():
            if head.confidence and head.confidence not in self.heads:
                message = f"heads.{name}.confidence names '{head.confidence}', which is no head of this recipe"
                raise ValueError(message)
        return self


def with_effort(recipe: Recipe, effort: Effort) -> Recipe:
    """Return a recipe with the steps that an effort allows.

    Args:
        recipe: The recipe.
        effort: "quick" observes and chooses scales, in seconds; "standard" runs the recipe as it stands, in minutes;
            "max" also gives its searches twice the frames and rounds.
    """
    if effort == "standard":
        return recipe
    kept = [step for step in recipe.step if effort == "max" or isinstance(step, ObserveStep | ScaleStep)]
    return recipe.model_copy(update={"step": tuple(_doubled(step) if effort == "max" else step for step in kept)})


def _doubled(step: Step) -> Step:
    if isinstance(step, SelectStep):
        return step.model_copy(update={"frames": 2 * step.frames, "max_rounds": 2 * step.max_rounds})
    if isinstance(step, ReconstructStep):
        return step.model_copy(update={"frames": 2 * step.frames, "steps": 2 * step.steps})
    return step


def load_recipe(name: str | Path) -> Recipe:
    """Load a recipe by its shipped name or from a TOML file.

    A file may name another recipe in `extends`, a file relative to its own folder; its own keys then replace that
    recipe's, table by table. `heads`, and a decoder of another family, replace the table as a whole.

    Raises:
        UsageError: There is no such recipe, or the file is not valid; the message names file, key and known keys.
    """
    files = _chain(find("calib", str(name)))
    data: dict[str, Any] = {}
    for _, table in reversed(files):
        data = _overlay(data, table)
    return parse(Recipe, data, " which extends ".join(str(path) for path, _ in files))


def _chain(path: Path, below: tuple[Path, ...] = ()) -> list[tuple[Path, dict[str, Any]]]:
    """Read a file and all that it extends, one after the other."""
    if path.resolve() in (seen.resolve() for seen in below):
        raise UsageError(
            problem=f"{path} extends itself.",
            found=" -> ".join(map(str, (*below, path))),
            fix="Break the circle in 'extends'.",
        )
    data = read_toml(path)
    if "extends" not in data:
        return [(path, data)]
    parent = str(data.pop("extends"))
    beside = path.parent / parent
    found = find("calib", str(beside) if beside.suffix == ".toml" else parent)
    return [(path, data), *_chain(found, (*below, path))]


def _overlay(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    both = {
        key: {**below[key], **value} if _adds_to(key, below.get(key), value) else value for key, value in above.items()
    }
    return {**below, **both}


def _adds_to(key: str, below: Any, above: Any) -> bool:
    """Whether a table's keys replace those of the table below, rather than the table as a whole."""
    if key == "heads" or not isinstance(below, dict) or not isinstance(above, dict):
        return False
    return above.get("family") in (None, below.get("family"))

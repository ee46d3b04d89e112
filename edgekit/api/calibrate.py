"""`edgekit.calibrate`: from a trained model and frames to a calibration folder."""

from __future__ import annotations

from pathlib import Path

from edgekit.calibration import artifact
from edgekit.calibration.artifact import Calibration
from edgekit.calibration.write import Request, write_calibration
from edgekit.errors import DataError, GateError, UsageError
from edgekit.features.folder import features_members
from edgekit.frames import Frames, FrameSource
from edgekit.graph.read import read_model
from edgekit.output import new_folder
from edgekit.progress import Progress, silent
from edgekit.recipes import Bits, Effort, Recipe, load_recipe, with_effort
from edgekit.reference import model_path
from edgekit.resources import shipped_names
from edgekit.targets import load_target

BUILT_IN_FRAMES = 128


def calibrate(
    model: str | Path | None = None,
    data: str | Path | FrameSource | None = None,
    *,
    target: str | Path = "jetson-orin",
    recipe: str | Path | None = None,
    features: str | Path | None = None,
    out: str | Path | None = None,
    max_lateral: float | None = None,
    min_f1: float | None = None,
    effort: Effort = "standard",
    bits: Bits = "w8a8",
    seed: int = 0,
    device: str = "cpu",
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Calibration:
    """Calibrate a trained model to INT8 for a target, or see what 4 bit would make of it.

    Args:
        model: An .onnx file; none for the built-in reference lane network.
        data: A folder of images, a video, an .npz, a list file, or a source of frames; none only for the built-in
            network, which then sees generated road frames.
        target: A shipped target's name, or a TOML file.
        recipe: A shipped recipe's name, or a TOML file; none: the one shipped recipe whose heads the model has.
        features: Of a ranker, and of it alone: the folder with the schema and the tables that its input is made of.
        out: The folder to write; none: build/<model>-<target>.
        max_lateral: Gate: largest mean lateral shift in px of the frame; none: the recipe's.
        min_f1: Gate: least F1 against the floating-point model's lanes; none: the recipe's.
        effort: "quick" observes and chooses scales; "standard" runs all steps of the recipe, learning among them;
            "max" gives its searches twice the frames and rounds.
        bits: Bits of weights and activations. Fewer than 8 are simulated under the target's rules, the first and the
            last layers left at 8 bit: no shipped target runs them, and `compile` refuses the result.
        seed: Recorded with the result, and used by every step that draws random numbers.
        device: Where to learn, as torch names it: "cpu" or "cuda".
        resume: Go on from the checkpoint of a calibration that was broken off; without one, start anew.
        overwrite: Replace an existing calibration.
        progress: Told how far it is.

    Returns:
        The calibration that was written.

    Raises:
        UsageError: An argument names nothing that exists.
        DataError: There are no readable frames, or too few.
        ModelError: The model is damaged or not supported.
        OutputError: The folder exists, or cannot be written.
        GateError: The calibrated model is worse than a gate allows. The folder is written all the same.
    """
    request = resolve(model, data, target, recipe, features, out, max_lateral, min_f1, effort, bits, seed, device)
    with new_folder(request.folder, overwrite) as folder:
        if not resume:
            request.checkpoint.unlink(missing_ok=True)
        write_calibration(folder, request, progress)
    request.checkpoint.unlink(missing_ok=True)
    calibration = Calibration.open(request.folder)
    _raise_failed(calibration)
    return calibration


def resolve(
    model: str | Path | None,
    data: str | Path | FrameSource | None,
    target: str | Path,
    recipe: str | Path | None,
    features: str | Path | None,
    out: str | Path | None,
    max_lateral: float | None,
    min_f1: float | None,
    effort: Effort,
    bits: Bits,
    seed: int,
    device: str,
) -> Request:
    """Find everything that a calibration needs, before any long work starts.

    Raises:
        UsageError: An argument names nothing that exists.
        DataError: There is no data.
        ModelError: The model is damaged.
    """
    model_file = model_path() if model is None else Path(model)
    chosen = load_recipe(recipe) if recipe is not None else _recipe_for(model, model_file)
    limits = {"max_lateral_px": max_lateral, "min_f1": min_f1}
    chosen = with_effort(chosen, effort)
    board = load_target(target).computing(chosen.operators)
    packed = _features(chosen, features)
    gates = chosen.gates.model_copy(update={name: value for name, value in limits.items() if value is not None})
    return Request(
        model_file=model_file,
        frames=_frames(model, data, seed),
        recipe=chosen.model_copy(update={"gates": gates}),
        target=board,
        folder=Path(out) if out is not None else Path("build") / f"{_stem(model)}-{board.name}",
        seed=seed,
        bits=bits,
        device=_device(device),
        features=packed,
    )


def _features(recipe: Recipe, folder: str | Path | None) -> dict[str, bytes]:
    """Return the files of a ranker's features."""
    ranks = recipe.preprocessing.kind == "features"
    if folder is None and ranks:
        raise UsageError(
            problem="A ranker is calibrated together with its features, which go to the device with it.",
            found="no --features",
            fix="Give the folder that `edgekit.features.folder.write_features` wrote after training.",
        )
    if folder is None:
        return {}
    if not ranks:
        raise UsageError(
            problem=f"The recipe '{recipe.name}' is for images, which have no features.",
            found=f"--features {folder}",
            fix="Name the ranker's recipe with --recipe ranker, or leave --features out.",
        )
    return features_members(folder)


def _device(name: str) -> str:
    """Return the name of a device that torch has here. Torch itself is asked only where it is not the CPU."""
    if name == "cpu":
        return name
    import torch

    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UsageError(
            problem=f"There is no device '{name}' to learn on.",
            found=str(error).strip().splitlines()[0],
            fix="Leave --device out to learn on the CPU, or install the torch build for this GPU and its driver.",
        ) from error
    return name


def _stem(model: str | Path | None) -> str:
    if model is None:
        return "reference-lane"
    path = Path(model)
    return path.parent.name if path.stem == "model" and path.parent.name else path.stem


def _recipe_for(model: str | Path | None, model_file: Path) -> Recipe:
    """Return the shipped recipe whose heads are the model's outputs."""
    if model is None:
        return load_recipe("reference-lane")
    outputs = {value.name for value in read_model(model_file).graph.output}
    recipes = [load_recipe(name) for name in shipped_names("calib") if name != "reference-lane"]
    fitting = [one for one in recipes if one.heads and {h.output or n for n, h in one.heads.items()} == outputs]
    if len(fitting) == 1:
        return fitting[0]
    raise UsageError(
        problem="The recipe cannot be told from the model's outputs.",
        found=f"outputs {', '.join(sorted(outputs))}; "
        + (f"fitting recipes: {', '.join(one.name for one in fitting)}" if fitting else "no recipe has these heads"),
        fix=f"Name it with --recipe: {', '.join(shipped_names('calib'))}. 'generic' takes any model.",
    )


def _frames(model: str | Path | None, data: str | Path | FrameSource | None, seed: int) -> FrameSource:
    if isinstance(data, str | Path):
        return Frames.open(data)
    if data is not None:
        return data
    if model is None:
        from edgekit.reference.road import RoadFrames

        return RoadFrames(seed, BUILT_IN_FRAMES)
    raise DataError(
        problem="Calibration needs frames that the model will see on the road.",
        found="no --data",
        fix="Give a folder of images, a video, an .npz or a list file with --data. Random numbers would not do.",
    )


def _raise_failed(calibration: Calibration) -> None:
    failed = [gate for gate in calibration.report["gates"] if not gate["passed"]]
    if failed:
        texts = [
            f"{gate['name']} is {'unknown' if gate['value'] is None else format(gate['value'], '.4g')}, "
            f"the gate is {gate['limit']:g}"
            for gate in failed
        ]
        if all(gate["value"] is None for gate in failed):
            raise GateError(
                problem="The calibrated model could not be held to a gate.",
                found="; ".join(texts),
                fix="Neither model finds anything to compare in the frames that were checked. Give frames in which the "
                "floating-point model finds lanes, and check the recipe's preprocessing and threshold.",
            )
        worst = calibration.folder / artifact.WORST
        raise GateError(
            problem="The calibrated model is worse than a gate allows.",
            found="; ".join(texts),
            fix=f"{f'Look at the worst frames in {worst}. ' if worst.is_dir() else ''}Give more varied data, "
            "search longer with --effort max, or loosen the gate knowingly.",
        )

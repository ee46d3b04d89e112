"""Train the reference lane network on generated road frames, export it to ONNX, and measure it on frames it never saw.

python examples/00_lanes/train.py --out build/lanes            # train, export, evaluate; run again to resume
python examples/00_lanes/train.py --evaluate MODEL.onnx        # evaluate only
"""

from __future__ import annotations

import argparse
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import torch
from model import COLUMNS, FIRST_Y, INPUT_SIZE, LANES, ROWS, STRIDE, LaneNet
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from edgekit.recipes import load_recipe
from edgekit.reference.road import FRAME_SIZE, RoadFrame, render
from edgekit.runtime.preprocessing import Preprocessor
from edgekit.tasks import task_for
from edgekit.tasks.base import Agreement
from edgekit.tasks.lanes.metrics import compare_lanes

TRAIN_SEED, HELD_OUT_SEED = 1_000, 2_000
INPUT_SHAPE = (1, 3, *INPUT_SIZE)
RECIPE = load_recipe("reference-lane")

# CULane draws lanes 30 px wide on frames 1640 px wide; the generated frames are 640 px wide.
LANE_WIDTH_PX = round(30 * FRAME_SIZE[1] / 1640)


def targets(frame: RoadFrame, preprocessor: Preprocessor) -> NDArray[np.float32]:
    """Return (LANES, ROWS) the x of every line in px of the network's input; NaN where there is none."""
    geometry = preprocessor.geometry(FRAME_SIZE)
    x = np.full((LANES, ROWS), np.nan, np.float32)
    rows = (np.arange(ROWS) * STRIDE + FIRST_Y) * geometry.scale[1] + geometry.offset[1]
    for lane, slot in zip(frame.lanes, frame.slots, strict=True):
        at = np.interp(rows, lane.points[:, 1], lane.points[:, 0], left=np.nan, right=np.nan)
        x[slot] = (at - geometry.offset[0]) / geometry.scale[0]
    return x


def sample(seed: int, index: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Render one frame and return the network's input as (3, H, W) uint8, and its targets."""
    preprocessor = Preprocessor(RECIPE.preprocessing, INPUT_SHAPE)
    frame = render(seed, index)
    pixels = np.rint(preprocessor(frame.pixels)[0] * RECIPE.preprocessing.divide_by).astype(np.uint8)
    return pixels, targets(frame, preprocessor)


def rendered(folder: Path, count: int, workers: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return the training set, from the disk where an earlier run has left it there."""
    images, labels = folder / f"images-{count}.npy", folder / f"targets-{count}.npy"
    if not labels.exists():
        pixels = np.lib.format.open_memmap(images, "w+", np.uint8, (count, *INPUT_SHAPE[1:]))
        x = np.empty((count, LANES, ROWS), np.float32)
        with ProcessPoolExecutor(workers) as pool:
            for index, (image, target) in enumerate(pool.map(partial(sample, TRAIN_SEED), range(count), chunksize=32)):
                pixels[index], x[index] = image, target
                if index % 1000 == 0:
                    print(f"rendered {index} of {count}", flush=True)
        pixels.flush()
        np.save(labels, x)
    return np.load(images, mmap_mode="r"), np.load(labels)


def mirrored(images: Tensor, x: Tensor, flip: Tensor) -> tuple[Tensor, Tensor]:
    """Mirror the chosen frames: what was left of the camera is then right of it."""
    where = flip[:, None, None]
    images = torch.where(where[..., None], images.flip(-1), images)
    # The centre of the last frame column lies half an input px before the input's edge, hence the half.
    return images, torch.where(where, INPUT_SIZE[1] - 0.5 - x.flip(1), x)


def loss_of(outputs: tuple[Tensor, Tensor, Tensor], x: Tensor) -> Tensor:
    """Return the loss against x (N, LANES, ROWS) in input px: which column, whether any, and where in the column."""
    logits, vertical, within = (output.float() for output in outputs)
    exists = ~x.isnan()
    column = (x.nan_to_num() / STRIDE).clamp(0, COLUMNS - 1e-3)
    centers = torch.arange(COLUMNS) + 0.5
    # The neighbours of the right column are half right: a line runs across the edge between two.
    soft = torch.softmax(-((centers - column[..., None]) ** 2) / 0.35, dim=-1)
    wrong = -(soft * F.log_softmax(logits, dim=-1)).sum(dim=-1)[exists].mean()
    near = (torch.arange(COLUMNS) - column.floor()[..., None]).abs() <= 1
    place = (column[..., None] - torch.arange(COLUMNS)).clamp(0, 1)
    shift = (within - place).abs()[near & exists[..., None]].mean()
    presence = F.binary_cross_entropy(vertical[..., 0], exists.float())
    return wrong + 2 * shift + 2 * presence


def train(args: argparse.Namespace) -> LaneNet:
    """Train, or go on from the last checkpoint in the output folder."""
    torch.manual_seed(args.seed)
    images, x = rendered(args.out, args.frames, args.workers)
    x = torch.from_numpy(x)
    network = LaneNet().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=args.rate, weight_decay=1e-3)
    batches = len(images) // args.batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.rate, args.epochs * batches, pct_start=0.15)
    parts = {"network": network, "optimizer": optimizer, "schedule": schedule}
    checkpoint, first = args.out / "checkpoint.pt", 0
    if checkpoint.exists():
        saved = torch.load(checkpoint)
        first = saved.pop("epoch")
        for name, part in parts.items():
            part.load_state_dict(saved[name])
        print(f"resumed after epoch {first}", flush=True)
    for epoch in range(first, args.epochs):
        start, total = time.perf_counter(), 0.0
        rng = np.random.default_rng((args.seed, epoch))
        order = rng.permutation(len(images))[: batches * args.batch].reshape(batches, args.batch)
        network.train()
        for step, chosen in enumerate(order):
            chosen.sort()
            pixels = torch.from_numpy(images[chosen]).float() / RECIPE.preprocessing.divide_by
            pixels, wanted = mirrored(pixels, x[chosen], torch.from_numpy(rng.random(args.batch) < 0.5))
            with torch.autocast("cpu", torch.bfloat16, enabled=args.bfloat16):
                outputs = network(pixels.contiguous(memory_format=torch.channels_last))
            loss = loss_of(outputs, wanted)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimizer.step()
            schedule.step()
            total += loss.item()
            if step % 100 == 0:
                print(f"epoch {epoch + 1} step {step}/{batches} loss {loss.item():.3f}", flush=True)
        taken = time.perf_counter() - start
        print(f"epoch {epoch + 1}/{args.epochs}: mean loss {total / batches:.4f}, {taken:.0f} s", flush=True)
        torch.save({name: part.state_dict() for name, part in parts.items()} | {"epoch": epoch + 1}, checkpoint)
    return network


def export(network: LaneNet, path: Path) -> None:
    """Write the network to ONNX: batch 1, static shapes, opset 17; the exporter merges BatchNorm into convolutions."""
    network = network.eval().to(memory_format=torch.contiguous_format)
    outputs = ["cls", "vertical", "offset"]
    image = torch.zeros(INPUT_SHAPE)
    with warnings.catch_warnings():
        # The exporter that replaces this one writes newer opsets only.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            network, (image,), path, dynamo=False, opset_version=17, input_names=["image"], output_names=outputs
        )
    model = onnx.load(path)
    name_weights(model)
    onnx.save(model, path)


def name_weights(model: onnx.ModelProto) -> None:
    """Name merged weights after their convolution; the exporter gives them running numbers."""
    names = {}
    for node in model.graph.node:
        for place, given in enumerate(node.input):
            if given.startswith("onnx::Conv"):
                names[given] = f"{node.name}.{('weight', 'bias')[place - 1]}"
                node.input[place] = names[given]
    for weight in model.graph.initializer:
        weight.name = names.get(weight.name, weight.name)


def evaluate(path: Path, frames: int, threads: int) -> Agreement:
    """Hold the lanes that the ONNX file finds on held-out frames against the ground truth."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    preprocessor, task = Preprocessor(RECIPE.preprocessing, INPUT_SHAPE), task_for(RECIPE)
    total = Agreement()
    for index in range(frames):
        frame = render(HELD_OUT_SEED, index)
        outputs = session.run(names, {"image": preprocessor(frame.pixels)})
        scene = task.decode(dict(zip(names, outputs, strict=True)), preprocessor.geometry(FRAME_SIZE))
        total += compare_lanes(frame.lanes, scene.lanes, FRAME_SIZE, width_px=LANE_WIDTH_PX)
    return total


def summary(found: Agreement) -> str:
    """Return the figures of an evaluation in one line."""
    lanes = f"{found.matched} of {found.reference_lanes} lanes found, {found.candidate_lanes} reported"
    shift = "none" if found.lateral_px is None else f"{found.lateral_px:.2f} px"
    return f"{found.frames} held-out frames: F1 {found.f1 or 0.0:.4f} ({lanes}), mean lateral shift {shift}"


def main() -> None:
    """Train, export and evaluate, or evaluate alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/lanes"), help="folder of frames, checkpoint and model")
    parser.add_argument("--evaluate", type=Path, metavar="ONNX", help="evaluate this file and train nothing")
    parser.add_argument("--frames", type=int, default=12_000, help="frames to train on")
    parser.add_argument("--held-out", type=int, default=500, help="frames to evaluate on")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=4e-3, help="highest learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1, help="processes that render")
    parser.add_argument("--bfloat16", action="store_true", help="faster on CPUs with AVX-512 BF16 or AMX")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    path = args.evaluate
    if path is None:
        args.out.mkdir(parents=True, exist_ok=True)
        path = args.out / "model.onnx"
        export(train(args), path)
    found = evaluate(path, args.held_out, args.threads)
    print(summary(found))


if __name__ == "__main__":
    main()

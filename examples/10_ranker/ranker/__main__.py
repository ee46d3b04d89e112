"""Make data, train rankers, export them: `python -m ranker --help`, in examples/10_ranker."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import torch

from edgekit.errors import EdgekitError
from edgekit.features.folder import read_features
from edgekit.features.schema import Schema, read_schema

from .dataset import learn_schema, read_file, read_samples
from .distill import Lessons, taught
from .export import export
from .metrics import Quality
from .model import Ranker, cost
from .movielens import prepare_movielens
from .networks import NETWORKS
from .planted import generate
from .saved import load_ranker, save_ranker
from .tables import find
from .training import Progress, Settings, evaluate, train
from .update import extended, fitting, learn_rows, unseen_ids

SCHEMAS = Path(__file__).resolve().parent.parent / "schemas"


def main() -> None:
    """Run one command."""
    args = _parser().parse_args()
    try:
        args.run(args)
    except (EdgekitError, FileNotFoundError, ValueError, ModuleNotFoundError) as error:
        sys.exit(f"{error}")


def run_planted(args: argparse.Namespace) -> None:
    """Generate the shop, and say how good a ranker could be."""
    best = generate(args.out, args.rows, args.users, args.items, args.seed)
    shutil.copy(SCHEMAS / "planted.toml", args.out / "schema.toml")
    (args.out / "best.json").write_text(json.dumps(best, indent=1) + "\n")
    print(
        f"{args.out}: {args.rows} rows; with the true chances, the test AUC of 'clicked' is {best['test.clicked']:.4f}"
    )


def run_movielens(args: argparse.Namespace) -> None:
    """Turn MovieLens ratings into rows of a ranking task."""
    counts = prepare_movielens(args.source, args.out)
    shutil.copy(SCHEMAS / "movielens.toml", args.out / "schema.toml")
    print(f"{args.out}: " + ", ".join(f"{count} rows to {part}" for part, count in counts.items()))


def run_train(args: argparse.Namespace) -> None:
    """Train one network, test it, and write model.pt and results.json."""
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    plain = read_schema(args.schema or args.data / "schema.toml")
    schema = learn_schema(plain, find(args.data, "train"), args.least)
    tasks = tuple(args.tasks.split(",")) if args.tasks else (schema.label,)
    settings = _settings(args)
    parts = {part: read_samples(args.data, part, schema, tasks) for part in ("train", "valid", "test")}
    rows = {part: len(samples) for part, samples in parts.items()}
    print(f"{args.network} on {rows['train']} rows, {schema.width} numbers a row, {', '.join(tasks)}", flush=True)
    torch.manual_seed(settings.seed)
    model = _build(args, schema, len(tasks)).to("cuda" if torch.cuda.is_available() else "cpu")
    lessons = Lessons(args.share, args.copies, settings.seed)
    if args.teachers:
        print(f"taught by {', '.join(str(folder) for folder in args.teachers)}", flush=True)
        parts["train"] = taught(_teachers(args.teachers, tasks), parts["train"], schema, lessons)
    start = time.perf_counter()

    def report(progress: Progress, loss: float, found: Quality, rate: float) -> None:
        left = (settings.epochs - progress.epoch) * progress.seconds / progress.epoch
        print(
            f"epoch {progress.epoch}: loss {loss:.4f}, validation AUC {found.auc:.4f}, logloss {found.logloss:.4f}, "
            f"rate {rate:.0e}; {time.perf_counter() - start:.0f} s, at most {left:.0f} s left",
            flush=True,
        )

    done = train(model, parts["train"], parts["valid"], settings, checkpoint=args.out / "checkpoint.pt", report=report)
    save_ranker(args.out / "model.pt", model, tasks)
    test = parts["test"].to(model.table.device)
    figures = {task: evaluate(model, test, number).figures() for number, task in enumerate(tasks)}
    dense, work = cost(model)
    results: dict[str, Any] = {
        "network": args.network,
        "size": asdict(model.size),
        "settings": asdict(settings),
        "teachers": [str(folder) for folder in args.teachers],
        "lessons": asdict(lessons) if args.teachers else None,
        "schema": schema.name,
        "rows": rows,
        "test": figures,
        "validation_auc": done.best,
        "epochs": done.epoch,
        "best_epoch": done.best_epoch,
        "seconds": round(done.seconds, 1),
        "dense_parameters": dense,
        "table_parameters": model.table.numel(),
        "multiply_adds": work,
    }
    (args.out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    for task, found in figures.items():
        print(f"test, {task}: " + ", ".join(f"{name} {value:.4f}" for name, value in found.items()))
    print(f"{dense} parameters beside the tables, {work} multiply-adds a candidate; {args.out / 'model.pt'}")


def run_key(args: argparse.Namespace) -> None:
    """Make the pair of keys of a ranker's updates."""
    from edgekit.features.delta import new_key

    private, public = new_key()
    args.out.mkdir(parents=True, exist_ok=True)
    secret = args.out / "private.hex"
    secret.touch(mode=0o600, exist_ok=False)
    secret.write_text(private.hex() + "\n")
    (args.out / "public.hex").write_text(public.hex() + "\n")
    print(f"{args.out}: public.hex goes into the features, private.hex stays with whoever trains")


def run_update(args: argparse.Namespace) -> None:
    """Learn rows for new ids, and write them as a signed delta."""
    from edgekit.features.delta import write_delta

    torch.set_num_threads(args.threads)
    model, tasks = load_ranker(args.model / "model.pt")
    ids = unseen_ids(model.schema, args.field, args.rows)
    if not ids:
        message = f"{args.rows} holds no '{args.field}' that the ranker does not know"
        raise ValueError(message)
    everything = read_file(args.rows, model.schema, tasks)
    larger = extended(model, args.field, ids)
    samples = read_file(args.rows, larger.schema, tasks)
    half = len(samples) // 2
    rows = learn_rows(larger, args.field, ids, samples.part(0, half))
    before, after = (
        evaluate(each, several.part(half, len(several))) for each, several in ((model, everything), (larger, samples))
    )
    features = read_features(args.features)
    rows = fitting(rows, features.tables[args.field])
    write_delta(args.out, features, {args.field: rows}, args.number, bytes.fromhex(args.key.read_text().strip()))
    print(
        f"{args.out}: {len(ids)} rows of '{args.field}', learned from {half} interactions; AUC of {tasks[0]} on the "
        f"other {len(samples) - half}: {before.auc:.4f} without them, {after.auc:.4f} with them"
    )


def run_export(args: argparse.Namespace) -> None:
    """Write ranker.onnx, ranker.features and requests.npz."""
    model, tasks = load_ranker(args.model / "model.pt")
    samples = read_samples(args.data, "train", model.schema, tasks)
    key = bytes.fromhex(args.update_key.read_text().strip()) if args.update_key else b""
    export(model, samples, args.out, args.candidates, args.requests, args.bits, key)
    print(f"{args.out}: ranker.onnx, ranker.features, requests.npz")


def _settings(args: argparse.Namespace) -> Settings:
    given = {each.name: getattr(args, each.name, None) for each in fields(Settings)}
    return Settings(**{name: value for name, value in given.items() if value is not None})


def _teachers(folders: list[Path], tasks: tuple[str, ...]) -> list[Ranker]:
    teachers = []
    for folder in folders:
        teacher, answered = load_ranker(folder / "model.pt")
        if answered != tasks:
            message = f"{folder} answers {', '.join(answered)}, and not {', '.join(tasks)}"
            raise ValueError(message)
        teachers.append(teacher)
    return teachers


def _build(args: argparse.Namespace, schema: Schema, tasks: int) -> Ranker:
    size = NETWORKS[args.network].size
    known = {each.name for each in fields(size)}
    changed: dict[str, Any] = {}
    for pair in args.size:
        name, _, value = pair.partition("=")
        if name not in known:
            message = f"{args.network} has no '{name}'; its size has: {', '.join(sorted(known))}"
            raise ValueError(message)
        try:
            changed[name] = json.loads(value)
        except ValueError:
            changed[name] = value
        if isinstance(changed[name], list):
            changed[name] = tuple(changed[name])
    return Ranker(schema, args.network, replace(size, **changed), tasks)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ranker", description=__doc__)
    commands = parser.add_subparsers(required=True)
    planted = commands.add_parser("planted", help="generate a shop with known chances of a click")
    planted.add_argument("-o", "--out", type=Path, required=True)
    planted.add_argument("--rows", type=int, default=100_000)
    planted.add_argument("--users", type=int, default=600)
    planted.add_argument("--items", type=int, default=1000)
    planted.add_argument("--seed", type=int, default=0)
    planted.set_defaults(run=run_planted)
    movielens = commands.add_parser("movielens", help="make a ranking task of MovieLens ratings that you have")
    movielens.add_argument("source", type=Path, help="folder with ratings.csv and movies.csv")
    movielens.add_argument("-o", "--out", type=Path, required=True)
    movielens.set_defaults(run=run_movielens)
    training = commands.add_parser("train", help="train a network; run again to resume")
    training.add_argument("data", type=Path, help="folder with train, valid and test, .csv or .parquet")
    training.add_argument("-o", "--out", type=Path, required=True)
    training.add_argument("--schema", type=Path, help="default: schema.toml in the data folder")
    training.add_argument("--network", choices=sorted(NETWORKS), default="unimixing-lite")
    training.add_argument("--size", nargs="*", default=[], metavar="NAME=VALUE", help="of the network, such as width=8")
    training.add_argument(
        "--teachers", nargs="*", type=Path, default=[], metavar="FOLDER", help="that `train` wrote: learn their answers"
    )
    training.add_argument("--share", type=float, default=Lessons.share, help="of the teachers in a real row's label")
    training.add_argument("--copies", type=int, default=Lessons.copies, help="made-up rows per real one, with teachers")
    training.add_argument("--tasks", default="", help="columns of labels, a comma between; default: the schema's label")
    training.add_argument("--least", type=int, default=1, help="how often an id must occur to get a row of its own")
    training.add_argument("--batch", type=int)
    training.add_argument("--rate", type=float)
    training.add_argument("--embedding-l2", type=float)
    training.add_argument("--epochs", type=int)
    training.add_argument("--patience", type=int)
    training.add_argument("--least-epochs", type=int, help="before an epoch that is no better can be one of the last")
    training.add_argument("--annealing", type=int)
    training.add_argument("--average", type=float)
    training.add_argument("--seed", type=int)
    training.add_argument("--threads", type=int, default=1)
    training.set_defaults(run=run_train)
    key = commands.add_parser("key", help="make the keys that updates are signed and checked with")
    key.add_argument("-o", "--out", type=Path, required=True)
    key.set_defaults(run=run_key)
    update = commands.add_parser("update", help="learn rows for new ids and write them as a signed delta")
    update.add_argument("model", type=Path, help="folder that `train` wrote")
    update.add_argument(
        "rows", type=Path, help=".csv or .parquet with interactions; the first half teaches, the rest tests"
    )
    update.add_argument("-o", "--out", type=Path, required=True)
    update.add_argument("--features", type=Path, required=True, help="the ranker.features that is on the device")
    update.add_argument("--key", type=Path, required=True, help="private.hex of `key`")
    update.add_argument("--field", required=True, help="whose new ids")
    update.add_argument("--number", type=int, default=1, help="of the update, counted from 1")
    update.add_argument("--threads", type=int, default=1)
    update.set_defaults(run=run_update)
    exporting = commands.add_parser("export", help="write what `edgekit calibrate --recipe ranker` takes")
    exporting.add_argument("model", type=Path, help="folder that `train` wrote")
    exporting.add_argument("data", type=Path, help="folder that requests to calibrate with are made of")
    exporting.add_argument("-o", "--out", type=Path, required=True)
    exporting.add_argument("--bits", type=int, choices=(32, 8, 4), default=8, help="of an embedding value")
    exporting.add_argument("--candidates", type=int, default=250, help="scored in one call of the network")
    exporting.add_argument("--requests", type=int, default=64)
    exporting.add_argument("--update-key", type=Path, help="file with the public key for later deltas, hexadecimal")
    exporting.set_defaults(run=run_export)
    return parser


if __name__ == "__main__":
    main()

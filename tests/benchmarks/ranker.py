"""How well UniMixing-Lite ranks beside other networks, all trained by the same code.

    python -m tests.benchmarks.ranker --frappe DIR --movielens DIR -o docs/ranker_accuracy.md [--only frappe/dnn/0]

The data are the user's own (see examples/10_ranker): Frappe_x1 as train.csv, valid.csv and test.csv, MovieLens as
ratings.csv and movies.csv; the ablation generates its own. Everything is tuned on validation rows, the test rows are
read once at the end of a training. Rows are written to the JSON beside the page as they come, and a run goes on where
the last one stopped. `--only` takes the start of a row's name; several processes may share one JSON.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import edgekit
from edgekit.features.schema import Schema, read_schema
from edgekit.profiling.machine import describe
from tests.benchmarks.ranker_training_page import chosen, page

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "10_ranker"
sys.path.insert(0, str(EXAMPLE))

from ranker.dataset import PARTS, learn_schema, read_samples  # noqa: E402 - the example is no installed package
from ranker.distill import Lessons, taught  # noqa: E402
from ranker.model import Ranker, cost  # noqa: E402
from ranker.movielens import prepare_movielens  # noqa: E402
from ranker.networks import NETWORKS, Dense, Mixer  # noqa: E402
from ranker.planted import generate  # noqa: E402
from ranker.samples import Samples  # noqa: E402
from ranker.training import PUBLISHED, Progress, Settings, evaluate, train  # noqa: E402

SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Case:
    """One network on one data set: how it is built and trained.

    `warm` is trained before with these settings. `teacher` is the case whose networks, one a seed, answer together what
    this one learns. Of the cases of one `choice` the one that validates best with the first seed has all seeds.
    """

    network: str
    size: Mixer | Dense
    settings: Settings
    warm: Settings | None = None
    teacher: str = ""
    lessons: Lessons | None = None
    choice: str = ""


@dataclass(frozen=True)
class Data:
    """A data set, encoded."""

    schema: Schema
    parts: dict[str, Samples]
    best: float | None = None


FRAPPE = Settings()
L2 = (0.01, 0.03, 0.1)
"""On the embeddings of MovieLens, for which nobody has published settings: one of these by the validation AUC."""
PLANTED = Settings(batch=512, rate=3e-3, embedding_l2=0.03, epochs=30, annealing=2)
TAUGHT = Mixer(dropout=0.1, feature_dropout=0.0)
SMALL = Mixer(width=32, basis=2, rank=2, head=(64,), dropout=0.2, feature_dropout=0.0)


def _cases() -> dict[str, Case]:
    cases = {}
    for network, kind in NETWORKS.items():
        if network == "infnet":  # it is for several tasks
            continue
        # With weights of their own for every token, mixers learn more slowly: one bad stretch is no end.
        base = replace(FRAPPE, least_epochs=50) if isinstance(kind.size, Mixer) else FRAPPE
        cases[f"frappe/{network}"] = Case(network, kind.size, base)
        for l2 in L2:
            settings = replace(base, embedding_l2=l2)
            cases[f"movielens/{network}, L2 {l2}"] = Case(network, kind.size, settings, choice=f"movielens/{network}")
    cases["frappe/dnn-published"] = Case("dnn", Dense(), PUBLISHED)
    for network, size in (("unimixing-lite", TAUGHT), ("dnn", Dense())):
        cases[f"frappe/{network}-taught"] = Case(network, size, FRAPPE, teacher="frappe/finalmlp", lessons=Lessons())
    for l2 in L2:
        name, settings = "movielens/unimixing-lite-taught", replace(FRAPPE, embedding_l2=l2)
        case = Case("unimixing-lite", TAUGHT, settings, teacher="movielens/dcnv2, L2 0.1", lessons=Lessons())
        cases[f"{name}, L2 {l2}"] = replace(case, choice=name)
    sharp, soft = replace(PLANTED, tau=(0.05, 0.05)), replace(PLANTED, tau=(1.0, 1.0))
    lite = Case("unimixing-lite", SMALL, PLANTED)
    variants = {
        "as it is": lite,
        "tau = 1 throughout": replace(lite, settings=soft),
        "tau = 0.05 throughout": replace(lite, settings=sharp),
        "warm-up: all of it at tau = 1, then again at 0.05": replace(lite, settings=sharp, warm=soft),
        "no symmetry": replace(lite, size=replace(SMALL, symmetric=False)),
        "one local matrix for all blocks": replace(lite, size=replace(SMALL, shared=True)),
        "PostNorm": replace(lite, size=replace(SMALL, norm="post")),
        "norm by token": replace(lite, size=replace(SMALL, whole=False)),
        "basis 1": replace(lite, size=replace(SMALL, basis=1)),
        "basis 4": replace(lite, size=replace(SMALL, basis=4)),
        "rank 1": replace(lite, size=replace(SMALL, rank=1)),
        "rank 4": replace(lite, size=replace(SMALL, rank=4)),
        "2 blocks": replace(lite, size=replace(SMALL, blocks=2)),
        "4 blocks": replace(lite, size=replace(SMALL, blocks=4)),
        "full matrices (UniMixing)": Case("unimixer", replace(SMALL, mixing="full"), PLANTED),
        "TokenMixer (RankMixer)": Case("rankmixer", replace(SMALL, mixing="token"), PLANTED),
        "no mixing: DNN 400 x 3": Case("dnn", Dense(), PLANTED),
    }
    return cases | {f"planted/{name}": case for name, case in variants.items()}


CASES = _cases()


def main(args: argparse.Namespace) -> None:
    """Train what is missing, row by row, and write the page."""
    torch.set_num_threads(args.threads)
    json_file = args.out.with_suffix(".json")
    loaded: dict[str, Data] = {}
    with tempfile.TemporaryDirectory() as work:
        for seed in SEEDS[: args.seeds]:
            for name, case in CASES.items():
                row, rows = f"{name}/{seed}", _rows(json_file)
                if not row.startswith(tuple(args.only)) or row in rows:
                    continue
                if case.choice and seed != SEEDS[0] and chosen(case.choice, rows, CASES) != name:
                    continue
                data = name.split("/")[0]
                if data not in loaded and (read := _data(data, args, Path(work))) is not None:
                    loaded[data] = read
                if data in loaded:
                    _add(json_file, row, measure(case, loaded[data], seed, row, args.checkpoints or Path(work)))
    args.out.write_text(page(json.loads(json_file.read_text()), CASES))


def measure(case: Case, data: Data, seed: int, row: str, checkpoints: Path) -> dict[str, Any]:
    """Train once and return the figures."""
    model, done, seconds = trained(case, data, seed, row, checkpoints)
    dense, work = cost(model)
    found = evaluate(model, data.parts["test"]).figures()
    print(f"{row}: test {found}", flush=True)
    return {
        **found,
        "validation_auc": done.best,
        "dense_parameters": dense,
        "multiply_adds": work,
        "epochs": done.epoch,
        "seconds": round(seconds),
        "best": data.best,
        "size": asdict(model.size),
        "settings": asdict(case.settings),
        "teacher": case.teacher,
        "lessons": asdict(case.lessons) if case.lessons else None,
    }


def trained(case: Case, data: Data, seed: int, row: str, checkpoints: Path) -> tuple[Ranker, Progress, float]:
    """Train a network, or go on where its checkpoint stands; also return the seconds of all stages."""
    samples = data.parts["train"]
    if case.lessons:
        by = [f"{case.teacher}/{number}" for number in SEEDS]
        teachers = [trained(CASES[case.teacher], data, number, name, checkpoints)[0] for number, name in enumerate(by)]
        samples = taught(teachers, samples, data.schema, case.lessons)
    torch.manual_seed(seed)
    model = Ranker(data.schema, case.network, case.size)
    seconds = 0.0
    for stage, settings in (("warm", case.warm), ("", case.settings)):
        if settings is not None:
            done = train(
                model,
                samples,
                data.parts["valid"],
                replace(settings, seed=seed),
                checkpoint=checkpoints / f"{row.replace('/', '-')}{stage}.pt",
                report=lambda progress, loss, found, rate: print(
                    f"{row}: epoch {progress.epoch}, loss {loss:.4f}, validation AUC {found.auc:.5f}, rate {rate:.0e}, "
                    f"{progress.seconds:.0f} s",
                    flush=True,
                ),
            )
            seconds += done.seconds
    return model, done, seconds


def _data(name: str, args: argparse.Namespace, work: Path) -> Data | None:
    best = None
    if name == "planted":
        folder = work / name
        best = generate(folder, 40_000, users=150, items=200, seed=0)["test.clicked"]
    elif name == "movielens" and args.movielens:
        folder = work / name
        prepare_movielens(args.movielens, folder)
    elif name == "frappe" and args.frappe:
        folder = args.frappe
    else:
        return None
    schema = learn_schema(read_schema(EXAMPLE / "schemas" / f"{name}.toml"), folder / "train.csv")
    return Data(schema, {part: read_samples(folder, part, schema, (schema.label,)) for part in PARTS}, best)


def _rows(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())["rows"] if path.exists() else {}


def _add(path: Path, row: str, figures: dict[str, Any]) -> None:
    """Add a row to the file, which other processes may be adding to."""
    with (Path(tempfile.gettempdir()) / f"edgekit-{path.stem}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        rows = _rows(path) | {row: figures}
        machine = describe({"edgekit": edgekit.__version__, "torch": version("torch"), "numpy": version("numpy")})
        about = {"date": date.today().isoformat(), "cpu": machine.cpu, "versions": dict(machine.versions)}
        beside = path.with_suffix(".part")
        beside.write_text(json.dumps({"about": about, "rows": dict(sorted(rows.items()))}, indent=1) + "\n")
        beside.replace(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frappe", type=Path, help="folder with train.csv, valid.csv and test.csv of Frappe_x1")
    parser.add_argument("--movielens", type=Path, help="folder with ratings.csv and movies.csv of ml-latest-small")
    parser.add_argument("-o", "--out", type=Path, default=ROOT / "docs" / "ranker_accuracy.md")
    parser.add_argument("--only", nargs="*", default=[""], help="rows whose names start so, such as frappe/dnn/0")
    parser.add_argument("--checkpoints", type=Path, help="folder to keep trained networks in; default: none are kept")
    parser.add_argument("--seeds", type=int, default=len(SEEDS))
    parser.add_argument("--threads", type=int, default=1)
    main(parser.parse_args())

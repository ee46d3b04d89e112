"""A trained ranker on the device: what 8 bit and small tables cost, how large its bundle is, how long a call takes.

    python -m tests.benchmarks.ranker_device MODEL DATA -o docs/ranker_device.md [--timing]

MODEL is a folder that `python -m ranker train` of examples/10_ranker wrote, DATA the folder with train.csv and test.csv
that it was trained on. Without --timing the quality is measured and the times of an earlier run are kept; with it the
times alone are, on a machine that does nothing else. LightGBM is needed for the times.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import edgekit
from edgekit.features.folder import read_features
from edgekit.features.schema import Schema
from edgekit.profiling.machine import describe
from tests.benchmarks import ranking

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "10_ranker"
REQUESTS = 200
SIZES = (10, 100, 1000, 10_000, 100_000)
TARGETS = ("x86-onnxruntime", "intel-cpu-vnni", "arm-cortex-a76", "arm-cortex-a55", "qualcomm-htp-v73")
QUALITY = ("x86-onnxruntime", "intel-cpu-vnni", "arm-cortex-a76", "arm-cortex-a55")
"""Targets whose engine runs thousands of rows here in seconds; QNN's simulator does not."""

LOOSE = """extends = "ranker"
[gates]
min_ndcg = 0.0
min_top_overlap = 0.0
[[step]]
step = "equalize"
[[step]]
step = "observe"
frames = 256
[[step]]
step = "scale"
activations = "mse"
[[step]]
step = "select"
cost = "macs"
min_macs_share = 0.9
[[step]]
step = "reconstruct"
"""
"""The shipped recipe without gates, and with nine tenths of the work in 8 bit instead of six."""


def main() -> None:
    """Measure, and write the page and the JSON beside it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("build/ranker_device"))
    parser.add_argument("--effort", default="standard")
    parser.add_argument("--resume", action="store_true", help="take the calibrations that an earlier run left")
    parser.add_argument("--timing", action="store_true")
    parser.add_argument("--note", default="on a machine that did nothing else", help="what else the machine did")
    parser.add_argument("--seconds", type=float, default=20.0)
    args = parser.parse_args()
    record = args.out.with_suffix(".json")
    about = {
        "date": datetime.date.today().isoformat(),
        "cpu": describe({}).cpu,
        "versions": {name: version(name) for name in ("onnxruntime", "openvino", "numpy")},
    }
    if args.timing:
        new = {"times": {"about": about | {"lightgbm": version("lightgbm"), "note": args.note}, **times(args)}}
    else:
        new = {"quality": {"about": about, **quality(args)}}
    found: dict[str, Any] = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    found |= new
    record.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    args.out.write_text(page(found), encoding="utf-8")


def quality(args: argparse.Namespace) -> dict[str, Any]:
    """Export with tables of 32, 8 and 4 bit, compile for every target, and judge on the test rows."""
    sys.path.insert(0, str(EXAMPLE))
    from ranker.dataset import read_samples
    from ranker.export import export
    from ranker.saved import load_ranker

    work: Path = args.work
    work.mkdir(parents=True, exist_ok=True)
    (work / "loose.toml").write_text(LOOSE)
    model, tasks = load_ranker(args.model / "model.pt")
    train = read_samples(args.data, "train", model.schema, tasks)
    for bits in (32, 8, 4):
        export(model, train, work / f"export{bits}", bits=bits)
    lists = ranking.read_lists(args.data / "test.csv", model.schema.label, model.schema.item, REQUESTS)
    users = lists.test[model.schema.user]
    rows: list[dict[str, Any]] = []
    reference: tuple[Any, Any] | None = None

    def judge(name: str, bits: int, path: Path) -> None:
        nonlocal reference
        everything, requests = ranking.scores(path, lists)
        reference = reference or (everything, requests)
        rows.append(
            {
                "network": name,
                "tables": bits,
                "bytes": path.stat().st_size,
                "auc": ranking.auc(lists.label, everything),
                "ndcg": ranking.ndcg(users, lists.label, everything),
                "overlap": ranking.overlap(reference[1], requests),
            }
        )
        print(rows[-1], flush=True)

    compiled: dict[str, dict[str, Any]] = {}
    for bits in (8, 4):
        source = work / f"export{bits}"
        # 4 bit change the tables, and the tables alone: one target tells.
        for target in TARGETS if bits == 8 else TARGETS[:1]:
            calibration = calibrated(source, work / f"{target}-{bits}", target, args)
            whole = edgekit.compile(calibration, out=work / f"{target}-{bits}.edge", tune=False, overwrite=True)
            slim = edgekit.compile(
                calibration, out=work / f"{target}-{bits}-slim.edge", tune=False, slim=True, overwrite=True
            )
            if reference is None:
                floating = ranking.float_bundle(whole, work / "export32" / "ranker.features", work / "float.edge")
                judge("float32", 32, floating.path)
            if target in QUALITY:
                judge(target, bits, slim.path)
            if bits == 8:
                agreement = whole.manifest.agreement
                compiled[target] = {
                    "origin": whole.manifest.golden.origin,
                    "figures": agreement.engine_to_reference or agreement.onnxruntime_to_reference,
                    "macs_share": calibration.report["quantized"]["macs_share"],
                    "bytes": slim.path.stat().st_size,
                    "whole": whole.path.stat().st_size,
                }
    model = json.loads((args.model / "results.json").read_text())
    # Where teachers lay says nothing elsewhere.
    return {"model": model | {"teachers": len(model["teachers"])}, "rows": rows, "compiled": compiled}


def calibrated(source: Path, out: Path, target: str, args: argparse.Namespace) -> edgekit.Calibration:
    """Calibrate an export, unless an earlier run that was broken off has done so."""
    if args.resume and (out / "report.json").exists():
        return edgekit.Calibration.open(out)
    return edgekit.calibrate(
        source / "ranker.onnx",
        source / "requests.npz",
        recipe=args.work / "loose.toml",
        features=source / "ranker.features",
        target=target,
        effort=args.effort,
        out=out,
        overwrite=True,
    )


def times(args: argparse.Namespace) -> dict[str, Any]:
    """Time calls of bundles that `quality` left, and of LightGBM, in turn."""
    sys.path.insert(0, str(EXAMPLE))
    from ranker.saved import load_ranker

    schema = load_ranker(args.model / "model.pt")[0].schema
    work: Path = args.work
    test = args.data / "test.csv"
    lists = ranking.read_lists(test, schema.label, schema.item, 1)
    bundles = {
        "float32, ONNX Runtime": work / "float.edge",
        "INT8, ONNX Runtime": work / "x86-onnxruntime-8-slim.edge",
        "INT8, OpenVINO": work / "intel-cpu-vnni-8-slim.edge",
    }
    trees = lightgbm(args.data / "train.csv", schema)
    user, items = ranking.request(lists, read_features(work / "export8" / "ranker.features"), 1000)
    rows = trees.encoded({name: [value] * 1000 for name, value in user.items()} | items)
    calls = {name: ranking.rank_call(path, lists, 1000, catalogue=True) for name, path in bundles.items()}
    calls["LightGBM, 100 trees"] = lambda: trees.booster.predict(rows, num_threads=1)
    found = ranking.timed(calls, args.seconds)
    values = {f"{name}, from values": ranking.rank_call(path, lists, 1000, False) for name, path in bundles.items()}
    found |= ranking.timed(values, args.seconds / 2)
    scaling = {}
    for size in SIZES:
        calls = {name: ranking.rank_call(path, lists, size, catalogue=True) for name, path in bundles.items()}
        scaling[str(size)] = ranking.timed(calls, args.seconds / 5, least=5)
    memory = {
        name: {str(size): ranking.memory(path, size, test, schema.label, schema.item) for size in (1000, 100_000)}
        for name, path in bundles.items()
    }
    label = np.array(lists.test[schema.label], np.float64)
    every = trees.booster.predict(trees.encoded(lists.test), num_threads=1)
    return {
        "thousand": found,
        "scaling": scaling,
        "memory": memory,
        "lightgbm_auc": ranking.auc(label, every.astype(np.float32)),
    }


@dataclass(frozen=True)
class Trees:
    """LightGBM on the fields of a schema, each a category.

    Attributes:
        booster: What was learned.
        codes: Field to text to the number that stands for it.
    """

    booster: Any
    codes: Mapping[str, Mapping[str, int]]

    def encoded(self, columns: ranking.Columns) -> Any:
        """Return columns as numbers; -1, which LightGBM takes as missing, for what training did not see."""
        return encoded(columns, self.codes)


def encoded(columns: ranking.Columns, codes: Mapping[str, Mapping[str, int]]) -> Any:
    """Return columns as numbers, (rows, fields) float64."""
    return np.array([[known.get(text, -1) for text in columns[name]] for name, known in codes.items()], np.float64).T


def lightgbm(train: Path, schema: Schema) -> Trees:
    """Train LightGBM on the rows that the ranker was trained on."""
    import lightgbm as lgb

    with train.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    columns = {field.name: [row[field.name] for row in rows] for field in schema.field}
    codes = {name: {text: code for code, text in enumerate(sorted(set(texts)))} for name, texts in columns.items()}
    label = np.array([float(row[schema.label]) for row in rows])
    data = lgb.Dataset(encoded(columns, codes), label, feature_name=list(codes), categorical_feature=list(codes))
    settings = {"objective": "binary", "num_leaves": 63, "learning_rate": 0.2, "seed": 0}
    return Trees(lgb.train(settings | {"verbose": -1, "num_threads": 1}, data, num_boost_round=100), codes)


def page(found: Mapping[str, Any]) -> str:
    """Return the Markdown page."""
    from tests.benchmarks.ranker_page import quality_part, times_part

    parts = ["# On-device ranker, measured", "", "Written by `python -m tests.benchmarks.ranker_device`."]
    if "quality" in found:
        parts += quality_part(found["quality"])
    if "times" in found:
        parts += times_part(found["times"])
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    main()

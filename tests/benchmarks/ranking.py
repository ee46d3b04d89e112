"""What `ranker_device` measures: a list's quality against labels, the size of bundles, and how long a call takes."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

import edgekit
from edgekit.bundle import ENGINE_FOLDER, FEATURES_FOLDER, REFERENCE, Bundle, open_bundle, write_bundle
from edgekit.errors import HostMismatchWarning
from edgekit.features.encode import Encoder
from edgekit.features.folder import Features, features_members, unpack_features
from edgekit.features.tables import gather
from edgekit.graph.compact import compact
from edgekit.tasks.ranking import order_of

Floats = NDArray[np.float32]
Columns = Mapping[str, Sequence[str]]

CANDIDATES = 1000
TOP, NDCG = 20, 10


@dataclass(frozen=True)
class Lists:
    """What is ranked to compare lists, the same for every bundle.

    Attributes:
        test: All test rows by column.
        label: Of each, 0 or 1.
        requests: Rows of `test` that ask.
        items: Places in `test` whose items are a request's candidates, (requests, CANDIDATES).
    """

    test: Columns
    label: NDArray[np.float64]
    requests: NDArray[np.intp]
    items: NDArray[np.intp]


def read_lists(file: Path, label: str, item: str, requests: int) -> Lists:
    """Read test rows and choose requests; candidates are distinct items of the test rows."""
    with file.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    rng = np.random.default_rng(0)
    first = np.unique(columns[item], return_index=True)[1]
    count = min(CANDIDATES, len(first))
    items = np.stack([rng.choice(first, count, replace=False) for _ in range(requests)])
    return Lists(columns, np.array(columns[label], np.float64), rng.choice(len(rows), requests, replace=False), items)


def float_bundle(whole: Bundle, features: Path, out: Path) -> Bundle:
    """Write the same slim bundle in float32: the reference as its model, tables of 32 bit."""
    model = compact(onnx.load_from_string(whole.read(REFERENCE))).SerializeToString(deterministic=True)
    members = {FEATURES_FOLDER + name: data for name, data in features_members(features).items()}
    engine = whole.manifest.engine.model_copy(update={"members": ("model.onnx",), "layers": (), "macs": {}})
    manifest = whole.manifest.model_copy(
        update={
            "slim": True,
            "engine": engine,
            "golden": whole.manifest.golden.model_copy(update={"vectors": ()}),
            "placement": whole.manifest.placement.model_copy(update={"rows": ()}),
        }
    )
    return write_bundle(out, manifest, {**members, f"{ENGINE_FOLDER}model.onnx": model}, overwrite=True)


def scores(bundle: Path, lists: Lists) -> tuple[Floats, Floats]:
    """Return a bundle's scores of all test rows, and of every request's candidates."""
    with _loaded(bundle) as ranker:
        features = unpack_features(open_bundle(bundle).features_members(), str(bundle))
        encoder = Encoder(features.schema)
        everything = _run(ranker, gather(features.schema, features.tables, encoder.encode(lists.test)))
        rows = [_request_rows(features, encoder, lists, place) for place in range(len(lists.requests))]
        return everything, np.stack([_run(ranker, each) for each in rows])


def _request_rows(features: Features, encoder: Encoder, lists: Lists, place: int) -> Floats:
    asking, items = lists.requests[place], lists.items[place]
    columns = {
        field.name: [lists.test[field.name][each] for each in items]
        if field.side == "item"
        else [lists.test[field.name][asking]] * len(items)
        for field in features.schema.field
    }
    return gather(features.schema, features.tables, encoder.encode(columns))


def _run(ranker: edgekit.Ranker, rows: Floats) -> Floats:
    batch = ranker.preprocessor.input_shape[0]
    filled = np.concatenate([rows, np.zeros((-len(rows) % batch, rows.shape[1]), np.float32)])
    found = [next(iter(ranker.infer(part).values())).ravel() for part in np.split(filled, len(filled) // batch)]
    return np.concatenate(found)[: len(rows)]


def auc(label: NDArray[np.float64], score: Floats) -> float:
    """Return the area under the ROC curve; equal scores count half."""
    _, place, counts = np.unique(score, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    rank = ((ends - counts + 1 + ends) / 2)[place]
    positives = label.sum()
    return float((rank[label == 1].sum() - positives * (positives + 1) / 2) / (positives * (len(label) - positives)))


def ndcg(users: Sequence[str], label: NDArray[np.float64], score: Floats) -> float:
    """Return the mean NDCG@10 of the test rows of every user who has both labels."""
    _, user = np.unique(users, return_inverse=True)
    discount = 1 / np.log2(np.arange(NDCG) + 2)
    found = []
    for each in range(user.max() + 1):
        own = np.flatnonzero(user == each)
        if 0 < label[own].sum() < len(own):
            gains = label[own][order_of(score[own])[:NDCG]]
            best = np.sort(label[own])[::-1][:NDCG]
            found.append(gains @ discount[: len(gains)] / (best @ discount[: len(best)]))
    return float(np.mean(found))


def overlap(one: Floats, two: Floats) -> float:
    """Return the mean share of the first 20 of each request that both lists have."""
    pairs = zip(one, two, strict=True)
    return float(np.mean([len(np.intersect1d(order_of(a)[:TOP], order_of(b)[:TOP])) / TOP for a, b in pairs]))


def timed(calls: Mapping[str, Callable[[], Any]], seconds: float, least: int = 50) -> dict[str, dict[str, float]]:
    """Time calls in turn and return p50 and p99 of each in microseconds, with the number of runs.

    After each round comes a pause of a tenth of it: whoever runs this with real-time priority is not held up then.
    """
    taken: dict[str, list[int]] = {name: [] for name in calls}
    for call in calls.values():
        for _ in range(3):
            call()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or min(map(len, taken.values())) < least:
        began = time.perf_counter()
        for name, call in calls.items():
            start = time.perf_counter_ns()
            call()
            taken[name].append(time.perf_counter_ns() - start)
        time.sleep((time.perf_counter() - began) / 10)
    return {
        name: {
            "p50": float(np.percentile(each, 50)) / 1e3,
            "p99": float(np.percentile(each, 99)) / 1e3,
            "runs": len(each),
        }
        for name, each in taken.items()
    }


def request(lists: Lists, features: Features, count: int) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Return a user and so many candidates, known ids over and over."""
    asking = int(lists.requests[0])
    user = {field.name: lists.test[field.name][asking] for field in features.schema.of_side("user", "context")}
    places = np.resize(lists.items[0], count)
    items = {field.name: [lists.test[field.name][each] for each in places] for field in features.schema.of_side("item")}
    # Ids that repeat would be ranked once.
    items[features.schema.item] = [f"{each}#{turn}" if turn >= len(lists.items[0]) else each
                                   for turn, each in enumerate(items[features.schema.item])]  # fmt: skip
    return user, items


def rank_call(bundle: Path, lists: Lists, count: int, catalogue: bool) -> Callable[[], Any]:
    """Return a call that ranks so many candidates on one thread, from their values or from a catalogue."""
    ranker = _loaded(bundle)
    user, items = request(lists, unpack_features(open_bundle(bundle).features_members(), str(bundle)), count)
    given: Any = ranker.catalogue(items) if catalogue else items
    return lambda: ranker.rank(user, given, k=TOP)


def memory(bundle: Path, count: int, data: Path, label: str, item: str) -> dict[str, float]:
    """Return MB of memory of a process of its own: before the bundle is loaded, then loaded, and its peak in a call."""
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from tests.benchmarks.ranking import rank_call, read_lists\n"
        "lists = read_lists(Path(sys.argv[2]), sys.argv[4], sys.argv[5], 1)\n"
        "import onnxruntime\n"
        "from edgekit.process import resident\n"
        "before = resident()[0]\n"
        "call = rank_call(Path(sys.argv[1]), lists, int(sys.argv[3]), True)\n"
        "loaded = resident()[0]\n"
        "Path('/proc/self/clear_refs').write_text('5')\n"  # the peak starts anew from here
        "call()\n"
        "peak = resident()[1]\n"
        "print(before / 1e6, loaded / 1e6, peak / 1e6)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(bundle), str(data), str(count), label, item],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    before, loaded, peak = map(float, done.stdout.split())
    return {"before": before, "loaded": loaded, "peak": peak}


def _loaded(bundle: Path) -> edgekit.Ranker:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HostMismatchWarning)
        ranker = edgekit.load(bundle, threads=1)
    assert isinstance(ranker, edgekit.Ranker)
    return ranker

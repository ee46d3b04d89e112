"""A ranker's bundle: compiled, whole or slim, loaded, and ranking."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import edgekit
from edgekit.bundle import Bundle
from edgekit.calibration.artifact import Calibration
from edgekit.cli import execute
from edgekit.cli.terminal import Terminal
from edgekit.errors import ArtifactError
from edgekit.features.encode import Encoder
from edgekit.features.tables import gather
from tests.features.shop import SHOP
from tests.rankers import CANDIDATES, columns, write_ranker

USER = {"user_id": "u2", "history": ["8"], "hour": 21}


pytestmark = pytest.mark.filterwarnings("ignore::edgekit.errors.HostMismatchWarning")


@pytest.fixture(scope="module")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> Calibration:
    folder = tmp_path_factory.mktemp("ranker")
    write_ranker(folder)
    return edgekit.calibrate(
        folder / "ranker.onnx",
        folder / "requests.npz",
        recipe="ranker",
        features=folder / "shop.features",
        target="arm-cortex-a76",
        effort="quick",
        out=folder / "calibration",
    )


@pytest.fixture(scope="module")
def bundle(calibration: Calibration) -> Bundle:
    return edgekit.compile(calibration, out=calibration.folder.parent / "ranker.edge", tune=False)


@pytest.fixture(scope="module")
def slim(calibration: Calibration) -> Bundle:
    return edgekit.compile(calibration, out=calibration.folder.parent / "slim.edge", tune=False, slim=True)


def candidates(count: int) -> dict[str, list[Any]]:
    made: dict[str, list[Any]] = columns(np.random.default_rng(9), count)
    return {"item_id": [f"i{index}" for index in range(count)], "tags": made["tags"], "price": made["price"]}


@pytest.mark.parametrize("reference", [False, True])
def test_it_ranks_as_the_packed_model_scores(bundle: Bundle, reference: bool) -> None:
    given = candidates(CANDIDATES)
    with edgekit.load(bundle, threads=1, reference=reference) as ranker:
        assert isinstance(ranker, edgekit.Ranker)
        found = ranker.rank(USER, given, k=CANDIDATES)
        features = ranker._features
    model = bundle.read("reference/model.onnx" if reference else "engine/model.onnx")
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    every = {name: [value] * CANDIDATES for name, value in USER.items()} | given
    rows = gather(SHOP, features.tables, Encoder(SHOP).encode(every))
    scores = session.run(None, {session.get_inputs()[0].name: rows})[0].ravel()
    assert found.places == np.argsort(-scores, kind="stable").tolist()
    np.testing.assert_allclose(found.scores, scores[found.places], rtol=1e-6)


def test_many_candidates_go_through_in_batches(bundle: Bundle) -> None:
    given = candidates(3 * CANDIDATES + 5)
    with edgekit.load(bundle, threads=1) as ranker:
        assert isinstance(ranker, edgekit.Ranker)
        whole = ranker.rank(USER, given, k=1000)
        part = ranker.rank(USER, {name: values[-5:] for name, values in given.items()}, k=1000)
    scores = dict(zip(whole.ids, whole.scores, strict=True))
    assert [scores[each] for each in part.ids] == pytest.approx(part.scores, rel=1e-5)


def test_the_bundle_proves_itself(bundle: Bundle) -> None:
    found = edgekit.verify(bundle)
    assert found.passed
    assert set(found.vectors[0].agreement.figures()) == {"order_change", "ndcg", "auc", "top_overlap"}


def test_a_slim_bundle_ranks_alike(bundle: Bundle, slim: Bundle) -> None:
    rankings = []
    for each in (bundle, slim):
        with edgekit.load(each, threads=1) as ranker:
            assert isinstance(ranker, edgekit.Ranker)
            rankings.append(ranker.rank(USER, candidates(50), explain=True))
    assert rankings[0] == rankings[1]
    assert slim.path.stat().st_size < bundle.path.stat().st_size


def test_a_slim_bundle_says_what_it_lacks(slim: Bundle) -> None:
    for attempt in (
        lambda: edgekit.verify(slim),
        lambda: edgekit.load(slim, reference=True),
        lambda: edgekit.estimate(slim.path),
        lambda: slim.read("scales.json"),
        lambda: edgekit.profile(slim),
    ):
        with pytest.raises(ArtifactError, match=r"is slim(.|\n)*without --slim"):
            attempt()


def test_the_same_calibration_gives_the_same_bytes(calibration: Calibration, slim: Bundle, tmp_path: Path) -> None:
    again = edgekit.compile(calibration, out=tmp_path / "again.edge", tune=False, slim=True)
    assert again.path.read_bytes() == slim.path.read_bytes()


def test_openvino_takes_it_too(calibration: Calibration, tmp_path: Path) -> None:
    whole = edgekit.compile(calibration, target="intel-cpu-vnni", out=tmp_path / "intel.edge", tune=False)
    small = edgekit.compile(calibration, target="intel-cpu-vnni", out=tmp_path / "slim.edge", tune=False, slim=True)
    assert small.manifest.engine.members == ("model.onnx",)
    rankings = []
    for each in (whole, small):
        with edgekit.load(each, threads=1) as ranker:
            assert isinstance(ranker, edgekit.Ranker)
            rankings.append(ranker.rank(USER, candidates(50)))
    assert rankings[0].places == rankings[1].places


def test_run_says_that_there_is_nothing_to_draw(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["run", str(bundle.path)], Terminal()) == 2
    assert "there is nothing to draw" in capsys.readouterr().err


def test_the_graph_of_the_bundle_is_quantized(bundle: Bundle) -> None:
    operators = [node.op_type for node in onnx.load_from_string(bundle.read("engine/model.onnx")).graph.node]
    assert operators.count("DequantizeLinear") >= 4

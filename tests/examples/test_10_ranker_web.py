"""The page that ranks in a browser, in a headless Chromium, against the same bundle in Python."""

from __future__ import annotations

import functools
import http.server
import json
import shutil
import subprocess
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgekit
from edgekit.errors import HostMismatchWarning
from edgekit.features.encode import Encoder
from edgekit.features.folder import read_features, write_features
from edgekit.features.tables import gather
from tests.features.shop import SHOP, tables
from tests.rankers import CANDIDATES, columns, write_ranker
from tests.webdriver import Browser, browsing

WEB = Path(__file__).resolve().parents[2] / "examples" / "10_ranker" / "web"

pytestmark = [
    pytest.mark.slow,
    *(
        pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")
        for program in ("npm", "chromium", "chromedriver")
    ),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page with its modules, and data made by its own script."""
    folder = tmp_path_factory.mktemp("web") / "web"
    shutil.copytree(WEB, folder, ignore=shutil.ignore_patterns("node_modules", "data"))
    if (WEB / "node_modules").is_dir():
        (folder / "node_modules").symlink_to(WEB / "node_modules")
    else:
        install = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(install, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"npm cannot install the page's modules: {done.stderr.strip().splitlines()[-1]}")
    made = folder.parent
    write_ranker(made)
    # Tables of every kind are decoded in the page.
    write_features(
        made / "shop.features",
        SHOP,
        tables(),
        bits={"user_id": 8, "history": 4, "hour": 4, "item_id": 8, "tags": 32, "price": 32},
        overwrite=True,
    )
    calibration = edgekit.calibrate(
        made / "ranker.onnx",
        made / "requests.npz",
        recipe="ranker",
        features=made / "shop.features",
        target="arm-cortex-a76",
        effort="quick",
        out=made / "calibration",
    )
    edgekit.compile(calibration, out=made / "ranker.edge", tune=False, slim=True)
    (folder / "data").mkdir()
    shutil.copy(made / "ranker.edge", folder / "data")
    users = [{"name": "u1", "fields": {"user_id": "u1", "history": "7|9", "hour": "3"}}]
    (folder / "data" / "shop.json").write_text(json.dumps({"users": users, "items": items(150)}))
    return folder


@pytest.fixture(scope="module")
def address(page: Path) -> Iterator[str]:
    handler = functools.partial(_Quiet, directory=page)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@pytest.fixture(scope="module")
def browser(address: str) -> Iterator[Browser]:
    with browsing() as found:
        found.open(f"{address}/index.html")
        failed = found.wait_for("window.failed ?? (window.ranker ? 'ready' : null)")
        assert failed == "ready", failed
        yield found


def items(count: int) -> list[dict[str, Any]]:
    made = columns(np.random.default_rng(4), count)
    rows = [
        {"item_id": f"i{index}", "tags": made["tags"][index], "price": made["price"][index]} for index in range(count)
    ]
    odd: list[dict[str, Any]] = [
        {},
        {"item_id": "ä€😀", "tags": "b|a|b", "price": ""},
        {"item_id": 7, "tags": None, "price": "12.5"},
        {"item_id": True, "tags": "", "price": -1e9},
    ]
    return [*odd, *rows]


USERS: list[dict[str, Any]] = [
    {"user_id": "u2", "history": ["9", "8", "7", "7"], "hour": 23},
    {"user_id": "never seen", "history": "unknown|8", "hour": None},
    {},
]


def test_rows_of_features_are_the_same_bit_by_bit(browser: Browser, page: Path) -> None:
    features = read_features(page.parent / "shop.features")
    given = items(20)
    script = """
        const rows = window.ranker.userRows(given[0]);
        window.ranker.writeItems(rows, given[1]);
        return [...new Uint32Array(rows.buffer)].slice(0, given[1].length * window.ranker.width);
    """
    for user in USERS:
        found = np.array(browser.evaluate(script, user, given), np.uint32).reshape(len(given), SHOP.width)
        every = {name: [user.get(name)] * len(given) for name in ("user_id", "history", "hour")}
        every |= {name: [item.get(name) for item in given] for name in ("item_id", "tags", "price")}
        wanted = gather(SHOP, features.tables, Encoder(SHOP).encode(every))
        np.testing.assert_array_equal(found.view(np.float32), wanted)
        signs = (found == wanted.view(np.uint32)) | (wanted == 0)
        assert signs.all()


def test_the_browser_ranks_as_python_does(browser: Browser, page: Path) -> None:
    given = items(3 * CANDIDATES)
    script = "return await window.ranker.rank(given[0], given[1], given[1].length, true)"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HostMismatchWarning)
        loaded = edgekit.load(page / "data" / "ranker.edge", threads=1)
    with loaded as ranker:
        assert isinstance(ranker, edgekit.Ranker)
        for user in USERS:
            found = browser.evaluate(script, user, given)
            wanted = ranker.rank(user, given, k=len(given), explain=True)
            assert wanted.drop_without is not None
            # Candidates without an id are all ranked, by both; the others have one each.
            assert len(found) == len(wanted) == len(given)
            ours = dict(zip(wanted.places, wanted.scores, strict=True))
            theirs = {each["place"]: each["score"] for each in found}
            extent = max(wanted.scores) - min(wanted.scores)
            gaps = np.array([abs(ours[place] - theirs[place]) for place in ours])
            # 8-bit products are exact in both; a rounding may fall the other way where a value lies between two steps.
            assert gaps.max() < 0.02 * extent
            assert np.median(gaps) < 1e-5 * extent
            top = {each["place"] for each in found[:20]}
            assert len(top & set(wanted.places[:20])) >= 19
            drops = dict(zip(wanted.places, wanted.drop_without, strict=True))
            for each in found[:20]:
                for name, drop in each["drops"].items():
                    assert drop == pytest.approx(drops[each["place"]][name], abs=0.04 * extent)


def test_nothing_leaves_this_machine(browser: Browser, address: str) -> None:
    loading = browser.requested()
    assert f"{address}/data/ranker.edge" in loading
    assert [url for url in loading if not url.startswith((address, "data:", "blob:"))] == []
    browser.evaluate("await window.ranker.rank(given[0], window.items); document.querySelector('input').value = 'u2'")
    browser.evaluate("document.querySelector('input').dispatchEvent(new Event('input', { bubbles: true }))")
    browser.wait_for("window.ranked.user.user_id === 'u2'")
    assert browser.requested() == []
    assert browser.evaluate("return window.ranked.sent") == 0
    refused = browser.evaluate("return await fetch('https://example.org/').then(() => 'sent', () => 'refused')")
    assert refused == "refused"


def test_the_page_shows_the_best(browser: Browser, tmp_path: Path) -> None:
    rows = browser.evaluate("return [...document.querySelectorAll('#list tr')].map((row) => row.innerText)")
    assert len(rows) == 20
    assert "Requests since the page was loaded: 0" in browser.evaluate("return document.body.innerText")
    picture = browser.screenshot()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 10_000
    (tmp_path / "page.png").write_bytes(picture)


def test_a_damaged_bundle_is_refused(browser: Browser) -> None:
    script = """
        const { openBundle } = await import("./bundle.js");
        const bytes = new Uint8Array(await (await fetch("data/ranker.edge")).arrayBuffer());
        const changed = bytes.slice();
        changed[bytes.length >> 1] ^= 1;
        const told = [];
        for (const wrong of [changed, bytes.slice(0, bytes.length >> 1), bytes.slice(0, 5)]) {
            await openBundle(wrong.buffer).then(() => told.push("taken"), (error) => told.push(error.message));
        }
        return told;
    """
    told = browser.evaluate(script)
    assert told[0].endswith("is not what manifest.json says")
    assert told[1:] == ["this is no bundle, or it was cut off"] * 2

"""Open a page in headless Chromium, and ask it what it shows; no script of the page's own is needed for that."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from html import escape, unescape
from pathlib import Path
from typing import Any

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"),
    *("--enable-logging=stderr", "--host-resolver-rules=MAP * ~NOTFOUND"),
)

PROBE = """
const box = e => e.getBoundingClientRect();
const meet = (a, b) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1;
const shown = [...document.querySelectorAll(
  "h1, h2, h3, p, .legend li, .plot span, .ytitle, .xtitle, .cards strong, .cards span, .layer b, .bar span, dt, dd")]
  .filter(e => box(e).width && !(e.closest("details:not([open])") && e.tagName !== "SUMMARY"));
const overlaps = [];
shown.forEach((a, i) => shown.slice(i + 1).forEach(b => {
  if (!a.contains(b) && !b.contains(a) && meet(box(a), box(b))) overlaps.push(a.textContent + " | " + b.textContent);
}));
const wide = [...document.querySelectorAll("body *")].filter(
  e => !e.closest(".scroll > *, svg") && box(e).right > innerWidth + 1).map(e => e.tagName + "." + e.className);
const paths = [...document.querySelectorAll("svg path")].filter(e => !/^M[-\\d. MLHVhvZ]+$/.test(e.getAttribute("d")));
addEventListener("load", () => {
const answer = parent.document.createElement("pre");
answer.className = "answer";
answer.textContent = JSON.stringify({
  width: innerWidth, overlaps, wide, malformed: paths.length, charts: document.querySelectorAll("svg").length,
  requests: performance.getEntriesByType("resource").map(e => e.name),
  heights: [...document.querySelectorAll("svg")].map(e => box(e).height),
});
parent.document.body.appendChild(answer);
});
"""


@dataclass(frozen=True)
class Seen:
    """What the browser saw.

    Attributes:
        answers: What the probe found, for each width.
        console: Messages on the console.
        requests: What the page loads beside itself, its own policy taken away.
    """

    answers: list[dict[str, Any]]
    console: list[str]
    requests: list[str]


def look(page: str, *widths: int) -> Seen:
    """Open a page, twice: as it is, for what it says and loads, and with a probe that measures its boxes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "page.html").write_text(page, encoding="utf-8")
        # The page's own policy forbids scripts, so the probe's copy goes without it.
        policy = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
        assert policy.search(page)
        probed = policy.sub("", page).replace("</body>", f"<script>{PROBE}</script></body>")
        # A window has a least width, a frame has none.
        frames = "".join(
            f'<iframe style="border:0;width:{width}px;height:900px" srcdoc="{escape(probed)}"></iframe>'
            for width in widths
        )
        (folder / "probed.html").write_text(f"<!doctype html><body>{frames}</body>", encoding="utf-8")
        _, log = _open(folder, "page.html")
        dom, _ = _open(folder, "probed.html")
        answers = [json.loads(unescape(text)) for text in re.findall(r'<pre class="answer">(.*?)</pre>', dom, re.S)]
        answers.sort(key=lambda answer: int(answer["width"]))
        assert [answer["width"] for answer in answers] == sorted(widths), dom[-500:]
        requests = sorted({request for answer in answers for request in answer["requests"]})
        return Seen(answers, re.findall(r"CONSOLE.*", log), requests)


def _open(folder: Path, file: str) -> tuple[str, str]:
    with tempfile.TemporaryDirectory() as profile:
        command = [
            CHROMIUM,
            *FLAGS,
            f"--user-data-dir={profile}",
            "--window-size=1500,1000",
            "--dump-dom",
        ]
        done = subprocess.run(
            [*command, (folder / file).as_uri()], capture_output=True, text=True, timeout=60, check=False
        )
        return done.stdout, done.stderr

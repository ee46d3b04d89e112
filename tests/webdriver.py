"""A headless Chromium, driven over the WebDriver protocol by the standard library alone."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1240,1000",
    # Whatever is not this machine has no address.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
DEADLINE_S = 240


class Browser:
    """One session."""

    def __init__(self, driver: str, session: str) -> None:
        self._url = f"{driver}/session/{session}"

    def open(self, url: str) -> None:
        call(f"{self._url}/url", {"url": url})

    def evaluate(self, script: str, *arguments: Any) -> Any:
        """Run the body of an async function and return what it returns."""
        body = f"const done = arguments[arguments.length - 1]; (async (...given) => {{ {script} }})(...arguments)"
        body += ".then((value) => done({ value }), (error) => done({ error: String(error.stack ?? error) }));"
        found = call(f"{self._url}/execute/async", {"script": body, "args": list(arguments)})
        assert "error" not in found, found["error"]
        return found["value"]

    def wait_for(self, expression: str) -> Any:
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end:
            if value := self.evaluate(f"return {expression} ?? null"):
                return value
            time.sleep(0.2)
        message = f"{expression} is still nothing after {DEADLINE_S} s"
        raise AssertionError(message)

    def screenshot(self) -> bytes:
        return base64.b64decode(call(f"{self._url}/screenshot"))

    def requested(self) -> list[str]:
        """Return the URLs that pages asked for since this was last called, without what the browser has built in."""
        entries = call(f"{self._url}/se/log", {"type": "performance"})
        messages = [json.loads(entry["message"])["message"] for entry in entries]
        sent = [each["params"]["request"] for each in messages if each["method"] == "Network.requestWillBeSent"]
        return [request["url"] for request in sent if not request["url"].startswith("chrome")]


@contextmanager
def browsing() -> Iterator[Browser]:
    """Start a browser with an empty profile, and end it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    profile = Path(tempfile.mkdtemp(prefix="edgekit-browser-"))
    process = subprocess.Popen(
        [str(shutil.which("chromedriver")), f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    driver = f"http://127.0.0.1:{port}"
    try:
        _wait_until_ready(driver)
        options = {"args": [*FLAGS, f"--user-data-dir={profile}"], "binary": shutil.which("chromium")}
        capabilities = {"goog:chromeOptions": options, "goog:loggingPrefs": {"performance": "ALL"}}
        session = call(f"{driver}/session", {"capabilities": {"alwaysMatch": capabilities}})["sessionId"]
        call(f"{driver}/session/{session}/timeouts", {"script": 1000 * DEADLINE_S, "pageLoad": 1000 * DEADLINE_S})
        yield Browser(driver, session)
        call(f"{driver}/session/{session}", method="DELETE")
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(profile, ignore_errors=True)


def call(url: str, data: Any = None, method: str | None = None) -> Any:
    """Send a command and return its value."""
    body = None if data is None else json.dumps(data).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"}, method=method)
    # Proxies of the environment are not for this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=DEADLINE_S + 30) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        raise AssertionError(error.read().decode()) from error


def _wait_until_ready(driver: str) -> None:
    end = time.monotonic() + DEADLINE_S
    while True:
        try:
            if call(f"{driver}/status")["ready"]:
                return
        except (urllib.error.URLError, ConnectionError):
            if time.monotonic() > end:
                raise
            time.sleep(0.1)

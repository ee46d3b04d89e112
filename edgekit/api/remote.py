"""Profile a bundle on a board over ssh."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.api.there import BUNDLE, profile_there
from edgekit.bundle import Bundle, open_bundle
from edgekit.emulation import EMULATED
from edgekit.manifest import Manifest
from edgekit.profiling.remote.board import installed, planned
from edgekit.profiling.remote.connection import Connection
from edgekit.profiling.remote.host import Host, host_of
from edgekit.profiling.remote.plan import Plan
from edgekit.progress import Progress, silent

_CARRIED = ("onnxruntime", "openvino")
"""Engines that come as packages from everywhere; the others belong to a board's own software."""


def profile_remote(
    bundle: Bundle | str | Path,
    host: Host | str,
    options: Mapping[str, Any],
    progress: Progress = silent,
    keep: Callable[[dict[str, Any]], None] = lambda partial: None,
) -> dict[str, Any]:
    """Measure a bundle on a board over ssh.

    The bundle, EdgeKit's runtime and what the board lacks of it are copied into a temporary folder there, and removed
    in the end. A connection that drops is connected again: the run goes on meanwhile.

    Args:
        bundle: A bundle, or its path.
        host: The board; an address alone takes its own Python and temporary folder.
        options: Keyword arguments of `edgekit.profile`, as JSON has them.
        progress: Told how far it is.
        keep: Given what was measured, marked as partial, where Ctrl-C or a failing engine ends the measurement before
            its time; what ended it is raised after that.

    Returns:
        What `Profile.to_json` returns there, with the origin `remote` (`emulated` where the board's Python runs in an
        emulator), and `remote`: which board that was, and what was carried there.

    Raises:
        TargetError: The board is not reached, not trusted, of another architecture than the target, has no Python
            that will do or too little room, the engine crashed there, or the connection dropped for good.
        UsageError: The address, or something else that was named, is wrong.
        EdgekitError: What `edgekit.profile` raises, raised there.
    """
    opened = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
    where, engine = host_of(host), str(options.get("engine") or opened.manifest.engine.backend)
    what = f"{engine} on {where.address}"
    with _planned(opened.manifest, where, engine) as (connection, plan):
        label = _Label(str(opened.path), {"host": str(where.address), "host_key": connection.host_key}, plan)
        with installed(connection, plan, opened.path.stat().st_size, progress) as board:
            result = board.call(
                f"{profile_there.__module__}:{profile_there.__name__}",
                {"options": dict(options)},
                {BUNDLE: opened.path},
                what=what,
                progress=progress,
                keep=lambda partial: keep(label.put_on(partial)),
            )
        return label.put_on(result, board.left_behind)


@dataclass(frozen=True)
class _Label:
    """What is added to a profile that comes from a board: where it comes from."""

    bundle: str
    board: Mapping[str, str]
    plan: Plan

    def put_on(self, result: Mapping[str, Any], *more: str) -> dict[str, Any]:
        emulated = self.plan.facts.emulated or result["origin"] == "emulated"
        said = [EMULATED] if emulated and EMULATED not in result["warnings"] else []
        return {
            **result,
            "origin": "emulated" if emulated else "remote",
            "bundle": self.bundle,
            "remote": {**self.board, **self.plan.to_json()},
            "warnings": [*said, *result["warnings"], *filter(None, more)],
        }


def plan_remote(bundle: Bundle | str | Path, host: Host | str, engine: str | None = None) -> dict[str, Any]:
    """Say what a board is and what `profile_remote` would copy there; nothing is written there.

    Args:
        bundle: A bundle, or its path.
        host: The board.
        engine: The engine that measures; none: the bundle's own.

    Raises:
        TargetError: The board is not reached, not trusted, of another architecture than the target, has no Python
            that will do, or there are no packages for it.
        UsageError: The address, or something else that was named, is wrong.
    """
    opened = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
    where = host_of(host)
    with _planned(opened.manifest, where, engine or opened.manifest.engine.backend) as (connection, plan):
        told = {"host": str(where.address), "host_key": connection.host_key, **plan.to_json()}
    return {**told, "bundle": str(opened.path), "bundle_bytes": opened.path.stat().st_size}


def _planned(manifest: Manifest, host: Host, engine: str) -> AbstractContextManager[tuple[Connection, Plan]]:
    """Find out what is carried, best with the version of the engine that the bundle was compiled with."""
    own = manifest.engine
    exact = (f"{engine}=={own.version}",) if engine in _CARRIED and engine == own.backend and own.version else ()
    return planned(host, engine if engine in _CARRIED else "vision", exact, manifest.target.device.arch)

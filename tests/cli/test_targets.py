from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

from edgekit.resources import shipped_names
from edgekit.targets import load_target

Edgekit = Callable[..., "subprocess.CompletedProcess[str]"]


def test_the_list_says_what_this_machine_can_do_and_fits_100_columns(in_process: Edgekit) -> None:
    done = in_process("targets", "list")
    assert done.returncode == 0
    head, *lines = done.stdout.splitlines()
    assert head.split() == ["target", "board", "and", "engine", "builds", "runs", "verified"]
    assert max(map(len, lines)) <= 100
    assert {line.split()[0] for line in lines if not line.startswith(" ")} == set(shipped_names("targets"))
    row = next(line for line in lines if line.startswith("jetson-agx-orin-jp6"))
    assert "on the device" in row


def test_the_list_in_json_has_every_target(in_process: Edgekit) -> None:
    rows = json.loads(in_process("targets", "list", "--json").stdout)["targets"]
    assert {row["name"] for row in rows} == set(shipped_names("targets"))
    own = next(row for row in rows if row["name"] == load_target("host").name)
    assert (own["builds"], own["runs"]) == ("here", "here")


def test_show_has_the_keys_of_the_file(in_process: Edgekit) -> None:
    shown = json.loads(in_process("targets", "show", "jetson-orin", "--json").stdout)["target"]
    assert shown["name"] == "jetson-agx-orin-jp6"
    assert {"builds", "runs", "verified", "tested", "scheme", "peak"} <= shown.keys()

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.errors import TargetError
from edgekit.profiling.remote.connection import Connection
from edgekit.profiling.remote.facts import ask
from edgekit.profiling.remote.host import parse_address
from edgekit.profiling.remote.own_wheel import pack
from edgekit.profiling.remote.plan import Plan
from tests.ssh_server import Server

from . import job


@pytest.fixture
def connection(server: Server) -> Iterator[Connection]:
    with Connection(parse_address(server.address)) as connection:
        yield connection


@pytest.fixture(scope="session")
def carried(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    folder = tmp_path_factory.mktemp("wheels")
    return pack(folder), job.wheel(folder)


@pytest.fixture
def plan(connection: Connection, carried: tuple[Path, ...]) -> Plan:
    """What is carried for calls of `job`: EdgeKit alone, which needs nothing more until it measures."""
    try:
        facts = ask(connection)
    except TargetError as error:
        pytest.skip(f"the board's user finds no Python here: {error.found}")
    return Plan(facts, carried, ())

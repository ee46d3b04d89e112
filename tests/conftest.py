from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def shared_lanes() -> Path:
    """The folder with real lane models and frames that lies beside the checkout."""
    folder = ROOT.parent / "shared" / "lanes"
    if not folder.is_dir():
        pytest.skip("the real lane models and frames (../shared/lanes) are not here")
    return folder

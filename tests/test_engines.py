from __future__ import annotations

import pytest

from edgekit.engines import saturates


@pytest.mark.parametrize(
    "machine, flags, expected",
    [
        ("x86_64", {"avx2", "avx512f"}, True),
        ("x86_64", {"avx2", "avx_vnni", "vnni"}, False),
        ("x86_64", {"avx512f", "avx512_vnni", "vnni"}, False),
        ("AMD64", {"avx2"}, True),
        ("aarch64", {"asimd"}, False),
    ],
)
def test_only_x86_without_vnni_saturates(machine: str, flags: set[str], expected: bool) -> None:
    assert saturates(machine, frozenset(flags)) is expected

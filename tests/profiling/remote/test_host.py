from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import UsageError
from edgekit.profiling.remote.host import Address, parse_address

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,20}", fullmatch=True)
ADDRESSES = st.builds(
    Address,
    host=NAMES | st.ip_addresses(v=6).map(str) | st.ip_addresses(v=4).map(str),
    user=st.just("") | NAMES,
    port=st.none() | st.integers(1, 65535),
)


@given(ADDRESSES)
def test_what_is_written_is_read(address: Address) -> None:
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("ssh://board", Address("board")),
        ("ssh://nvidia@orin.local", Address("orin.local", "nvidia")),
        ("ssh://root@[fe80::1]:2222", Address("fe80::1", "root", 2222)),
        ("ssh://Orin/", Address("Orin")),
    ],
)
def test_an_address(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        *("", "ssh://", "board", "user@board", "http://board", "ssh://user@", "ssh://board:port", "ssh://board:70000"),
        *("ssh://board/tmp", "ssh://board?x=1", "ssh://[::1", "ssh://-oProxyCommand=x", "ssh://-l@board"),
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"is not the address of a board") as refused:
        parse_address(text)
    assert "ssh://user@board:port" in refused.value.fix


@pytest.mark.parametrize("text", ["ssh://user:s3cret@board", "ssh://user:s3cret@board:22", "user:s3cret@board"])
def test_a_password_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(UsageError, match="password") as refused:
        parse_address(text)
    assert "s3cret" not in str(refused.value)
    assert "ssh-copy-id user@board" in refused.value.fix

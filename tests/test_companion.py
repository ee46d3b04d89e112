from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edgekit.companion import Companion, packed, unpacked
from edgekit.errors import ModelError, TargetError


def doubling(folder: Path, word: str) -> tuple[dict[str, str], Any]:
    text = (folder / "in" / "text.txt").read_text() + word

    def answer(values: Any) -> Any:
        if "crash" in values:
            print("about to read address 0", flush=True)
            os.kill(os.getpid(), signal.SIGSEGV)
        if "hang" in values:
            time.sleep(60)
        if "refuse" in values:
            raise ModelError(problem="It is too large.", found="9 GB", fix="Make it smaller.")
        return {name: 2 * one for name, one in values.items()}

    return {"text": text, "home": os.environ["HOME"]}, answer


def refuse(folder: Path) -> None:
    raise ModelError(problem="It is too large.", found="9 GB", fix="Make it smaller.")


def crash(folder: Path) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def made(call_s: float = 60) -> Companion:
    return Companion(
        f"{__name__}:doubling",
        {"word": " world"},
        {"text.txt": b"hello"},
        what="The test",
        start_s=60,
        call_s=call_s,
    )


def is_alive(process: int) -> bool:
    return Path(f"/proc/{process}").exists()


ONE = {"a": np.arange(3)}


def test_it_is_made_once_and_called_often_and_leaves_nothing() -> None:
    companion = made()
    home, process = Path(companion.told["home"]), companion.process
    assert companion.told["text"] == "hello world"
    for _ in range(3):
        np.testing.assert_array_equal(companion({"a/b": np.arange(3), "c": np.ones((2, 2))})["a/b"], [0, 2, 4])
    assert home.is_dir() and is_alive(process)
    companion.close()
    companion.close()
    assert not home.exists() and not is_alive(process)


def test_it_ends_with_the_last_reference_to_it() -> None:
    companion = made()
    process = companion.process
    del companion
    assert not is_alive(process)


@pytest.mark.parametrize("name, error, text", [("refuse", ModelError, "too large"), ("crash", TargetError, "SIGSEGV")])
def test_what_fails_at_the_start_is_an_error(name: str, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        Companion(f"{__name__}:{name}", {}, {}, what="The test", start_s=60, call_s=60)


def test_a_crash_in_a_call_is_an_error_with_the_end_of_the_log() -> None:
    companion = made()
    with pytest.raises(TargetError, match="crashed with SIGSEGV") as crash:
        companion(ONE | {"crash": np.ones(1)})
    assert "about to read address 0" in crash.value.found
    assert not is_alive(companion.process)


def test_an_error_that_the_function_raises_is_raised_here() -> None:
    companion = made()
    with pytest.raises(ModelError, match="too large"):
        companion({"refuse": np.ones(1)})
    companion.close()


def test_a_call_that_takes_too_long_is_killed() -> None:
    companion = made(call_s=0.2)
    with pytest.raises(TargetError, match=r"no answer within 0\.2 s"):
        companion({"hang": np.ones(1)})
    assert not is_alive(companion.process)


@given(
    st.dictionaries(
        st.text(max_size=8),
        arrays.arrays(st.sampled_from([np.float32, np.int64, np.uint8]), arrays.array_shapes(min_dims=0, max_side=4)),
        max_size=4,
    )
)
def test_arrays_arrive_as_they_were_sent(values: dict[str, Any]) -> None:
    received = unpacked(packed(values))
    assert list(received) == list(values)
    for name, one in values.items():
        assert received[name].dtype == one.dtype
        np.testing.assert_array_equal(received[name], one)

"""Which convolutions OpenVINO computes wrong on a CPU with AMX: as they are, rewritten, and with AMX turned off.

    python -m tests.benchmarks.amx

Random 8-bit convolutions, 150 of each of the two kinds that `edgekit.backends.openvino_amx` rewrites, as many others
and some in groups, are held against ONNX Runtime. Wrong is what differs by more than two steps of the results' grid. It
says so where the CPU has no AMX.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version

import numpy as np

from edgekit.backends.openvino_amx import Row, equal
from edgekit.profiling.machine import describe
from edgekit.targets import cpu_flags
from tests.backends.rows import OUTPUT_STEP, Convolution
from tests.benchmarks.judging import ROOT

COUNT = 450
WITHOUT_AMX = {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}
WAYS = {"as it is": (False, {}), "rewritten": (True, {}), "as it is, AMX off": (False, WITHOUT_AMX)}


def main() -> None:
    if "amx_int8" not in cpu_flags():
        sys.exit("This CPU has no AMX: there is nothing to compare.")
    wrong = {way: _in_own_process(rewritten, environment) for way, (rewritten, environment) in WAYS.items()}
    kinds = [kind for kind, _ in convolutions()]
    print(f"{describe({}).cpu}, OpenVINO {version('openvino')}, ONNX Runtime {version('onnxruntime')}; wrong of all\n")
    print(f"| convolutions | {' | '.join(WAYS)} |\n|---|{'---|' * len(WAYS)}")
    for kind in dict.fromkeys(kinds):
        found = [[one for one, of in zip(wrong[way], kinds, strict=True) if of == kind] for way in WAYS]
        print(f"| {kind} | {' | '.join(f'{sum(one)} of {len(one)}' for one in found)} |")


def convolutions() -> Iterator[tuple[str, Convolution]]:
    """Return random convolutions, each with its kind."""
    random = np.random.default_rng(0)
    wanted = {"wide kernels": COUNT // 3, "single columns": COUNT // 3, "others": COUNT // 3}
    while any(wanted.values()):
        kernel = int(random.integers(1, 41))
        one = Convolution(
            channels=int(random.choice([3, 4, 8, 12, 16, 20, 24, 28, 32, 48, 64])),
            kernel=(3, kernel),
            size=(5, kernel + int(random.integers(0, 12))),
            results=int(random.choice([1, 4, 8, 16, 32])),
            stride=int(random.integers(1, 3)),
            pads=(int(random.integers(0, 2)), int(random.integers(0, 2))),
        )
        row = Row(one.channels, one.size[1], kernel, one.stride, one.dilation, one.pads)
        kind = "others"
        if equal(row, 64) != row:
            kind = "single columns" if row.stride > 1 and row.results == 1 else "wide kernels"
        if wanted[kind]:
            wanted[kind] -= 1
            yield kind, one
    for channels in (16, 64, 80, 96, 128):
        size = (int(random.integers(4, 24)), int(random.integers(4, 24)))
        yield "pointwise, two groups", Convolution(channels, (1, 1), size, results=channels, groups=2)


def measure(rewritten: bool) -> list[bool]:
    """Return, by convolution, whether OpenVINO's results are wrong."""
    return [
        bool(np.abs(one.by_openvino(rewritten=rewritten)[0] - one.expected()).max() > 2 * OUTPUT_STEP)
        for _, one in convolutions()
    ]


def _in_own_process(rewritten: bool, environment: dict[str, str]) -> list[bool]:
    """oneDNN reads its environment once."""
    command = [sys.executable, "-m", "tests.benchmarks.amx", json.dumps(rewritten)]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | environment, stdout=subprocess.PIPE, text=True, check=True
    )
    answer: list[bool] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(json.loads(sys.argv[1]))))
    else:
        main()

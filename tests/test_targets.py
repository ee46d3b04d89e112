from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import pytest

from edgekit.errors import UsageError
from edgekit.resources import find, shipped_names
from edgekit.schema import parse
from edgekit.targets import (
    Device,
    Peak,
    Scheme,
    Target,
    TensorScheme,
    cpu_flags,
    cpu_target_name,
    list_targets,
    load_target,
)

ALIASES = {"jetson-orin", "host"}
EXPECTED = ALIASES | {
    "arm-cortex-a55",
    "arm-cortex-a72",
    "arm-cortex-a76",
    "intel-cpu-avx2",
    "intel-cpu-vnni",
    "intel-gpu",
    "intel-npu",
    "jetson-agx-orin-dla-jp6",
    "jetson-agx-orin-jp6",
    "jetson-agx-orin-jp7",
    "jetson-orin-nano-jp6",
    "nvidia-rtx-sm86",
    "nvidia-rtx-sm89",
    "qualcomm-htp-v69",
    "qualcomm-htp-v73",
    "qualcomm-htp-v75",
    "x86-onnxruntime",
}
BOARDS = sorted(EXPECTED - ALIASES)


def of(backend: str) -> list[str]:
    return [name for name in BOARDS if load_target(name).backend == backend]


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def refusal(name: str) -> UsageError:
    with pytest.raises(UsageError) as raised:
        load_target(name)
    return raised.value


def test_the_boards_that_are_promised_are_shipped() -> None:
    assert set(shipped_names("targets")) >= EXPECTED


@pytest.mark.parametrize("name", sorted(set(shipped_names("targets")) - ALIASES))
def test_every_shipped_target_loads_under_its_name(name: str) -> None:
    target = load_target(name)
    assert target.name == name
    assert target.title
    assert target.tested


def test_jetson_orin_is_the_common_jetson() -> None:
    assert load_target("jetson-orin") == load_target("jetson-agx-orin-jp6")


def test_host_is_this_machine() -> None:
    target = load_target("host")
    assert target.device.arch == {"AMD64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
    assert target.device.unit == "cpu"
    assert set(target.device.isa) <= cpu_flags()
    assert target.builds == "here"


@pytest.mark.parametrize(
    ("machine", "flags", "name"),
    [
        ("x86_64", {"avx2", "avx512_vnni", "vnni"}, "intel-cpu-vnni"),
        ("x86_64", {"avx2"}, "intel-cpu-avx2"),
        ("AMD64", set(), "intel-cpu-avx2"),
        ("aarch64", {"asimd", "asimddp"}, "arm-cortex-a76"),
        ("aarch64", {"asimd"}, "arm-cortex-a72"),
    ],
)
def test_a_cpu_gets_the_target_that_fits_its_flags(machine: str, flags: set[str], name: str) -> None:
    assert cpu_target_name(machine, frozenset(flags)) == name
    assert set(load_target(name).device.isa) <= flags or not flags


def test_a_cpu_that_no_target_fits_is_named() -> None:
    with pytest.raises(UsageError, match="riscv64"):
        cpu_target_name("riscv64", frozenset())


def test_vnni_stands_for_both_of_its_forms() -> None:
    assert ("vnni" in cpu_flags()) == bool(cpu_flags() & {"avx512_vnni", "avx_vnni"})


def test_the_list_says_what_an_alias_stands_for() -> None:
    rows = dict(list_targets())
    assert rows["jetson-orin"] == "alias of jetson-agx-orin-jp6"
    assert rows["host"] == f"alias of {load_target('host').name}"
    assert rows["intel-gpu"] == load_target("intel-gpu").title


@pytest.mark.parametrize("name", BOARDS)
def test_no_figure_is_published_without_its_source(name: str) -> None:
    peak = load_target(name).peak
    assert bool(peak.model_dump(exclude_none=True, exclude={"source"})) == bool(peak.source)


def test_a_figure_without_a_source_is_refused() -> None:
    with pytest.raises(UsageError, match="int8_tops, dram_gb_s without a source"):
        parse(Peak, {"int8_tops": 85.0, "dram_gb_s": 204.8, "source": " "}, "peak")
    assert parse(Peak, {"int8_tops": 85.0, "source": "the data sheet"}, "peak").int8_tops == 85.0


def test_a_figure_without_a_source_is_refused_in_a_file_too(tmp_path: Path) -> None:
    text = find("targets", "intel-gpu").read_text(encoding="utf-8")
    error = refusal(write(tmp_path / "mine.toml", text + "\n[peak]\nint8_tops = 100.0\n"))
    assert "mine.toml: key 'peak' is not valid: int8_tops without a source." in error.problem


@pytest.mark.parametrize("name", [name for name in BOARDS if load_target(name).builds == "on-device"])
def test_what_is_built_on_the_device_comes_with_a_command_for_its_shell(name: str) -> None:
    note = load_target(name).build_note
    assert "model.onnx" in note or "model.xml" in note
    checked = subprocess.run(["sh", "-n", "-c", note], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("name", of("tensorrt"))
def test_tensorrt_takes_symmetric_int8_and_a_float_bias(name: str) -> None:
    scheme = load_target(name).scheme
    assert (scheme.activations.dtype, scheme.activations.symmetric) == ("int8", True)
    assert (scheme.weights.dtype, scheme.weights.symmetric) == ("int8", True)
    assert scheme.bias == "float"


def test_tensorrt_11_is_given_none_of_the_flags_that_it_no_longer_has() -> None:
    assert "--int8 --fp16" in load_target("jetson-agx-orin-jp6").build_note
    assert "--int8" not in load_target("jetson-agx-orin-jp7").build_note
    assert "--fp16" not in load_target("jetson-agx-orin-jp7").build_note


@pytest.mark.parametrize("name", of("openvino"))
def test_openvino_is_given_unsigned_activations_and_told_its_precision(name: str) -> None:
    target = load_target(name)
    assert target.scheme.activations.dtype == "uint8"
    assert target.options["precision"] == {"fp32": "f32", "fp16": "f16"}[target.scheme.higher_precision]
    assert target.options["device"] == target.device.unit.upper()


@pytest.mark.parametrize("name", BOARDS)
def test_only_a_cpu_that_saturates_gets_seven_bit_weights(name: str) -> None:
    assert load_target(name).scheme.weights.reduce_range == (name == "intel-cpu-avx2")


@pytest.mark.parametrize("name", [*of("onnxruntime"), *of("qnn")])
def test_engines_that_fuse_whole_nodes_get_quantized_outputs_and_biases(name: str) -> None:
    scheme = load_target(name).scheme
    assert (scheme.outputs, scheme.bias, scheme.residual_add) == (True, "int32", "full")


def test_a_file_of_ones_own_wins_over_a_shipped_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = find("targets", "arm-cortex-a55").read_text(encoding="utf-8")
    write(tmp_path / "host.toml", text.replace('name = "arm-cortex-a55"', 'name = "my-board"'))
    monkeypatch.chdir(tmp_path)
    assert load_target("host.toml").name == "my-board"
    assert load_target("host").name != "my-board"


def test_a_file_may_be_an_alias(tmp_path: Path) -> None:
    path = write(tmp_path / "car.toml", 'alias = "qualcomm-htp-v73"\n')
    assert load_target(path) == load_target("qualcomm-htp-v73")


def test_an_alias_of_itself_is_refused(tmp_path: Path) -> None:
    one, two = tmp_path / "one.toml", tmp_path / "two.toml"
    write(one, f'alias = "{two.as_posix()}"\n')
    write(two, f'alias = "{one.as_posix()}"\n')
    error = refusal(str(one))
    assert "is an alias of itself" in error.problem
    assert error.found.count(" -> ") == 2


def test_an_alias_says_nothing_else(tmp_path: Path) -> None:
    error = refusal(write(tmp_path / "mine.toml", 'alias = "host"\ntitle = "x"\n'))
    assert error.problem.endswith("unknown key 'title'.")
    assert error.found == "Known keys here: alias."


@pytest.mark.parametrize(
    ("correct", "wrong", "key", "known", "meant"),
    [
        ("title =", "tilte =", "tilte", "backend, build_note, builds, device, name, options, peak, runs", "title"),
        ("outputs =", "output =", "scheme.output", "operators, opset, outputs, residual_add", "outputs"),
        ("symmetric = true", "symetric = true", "scheme.weights.symetric", "dtype, granularity", "symmetric"),
        ("on_chip_mb =", "onchip_mb =", "peak.onchip_mb", "clock_ghz, cores, dram_gb, dram_gb_s", "on_chip_mb"),
    ],
    ids=["top level", "scheme", "scheme of weights", "peak"],
)
def test_an_unknown_key_names_file_key_and_known_keys(
    tmp_path: Path, correct: str, wrong: str, key: str, known: str, meant: str
) -> None:
    text = find("targets", "arm-cortex-a76").read_text(encoding="utf-8")
    assert correct in text
    path = write(tmp_path / "mine.toml", text.replace(correct, wrong))
    error = refusal(path)
    assert error.problem == f"{path}: unknown key '{key}'."
    assert known in error.found
    assert f"Did you mean '{meant}'?" in error.fix


def test_an_unknown_target_suggests_the_nearest() -> None:
    error = refusal("jetson-agx-orin")
    assert error.problem == "There is no target named 'jetson-agx-orin'."
    assert "Did you mean 'jetson-agx-orin-jp" in error.fix
    assert error.exit_code == 2


@pytest.mark.parametrize("name", BOARDS)
def test_the_docs_say_of_a_target_what_its_file_says(name: str, root: Path) -> None:
    target = load_target(name)
    rules, *figures = [line for line in _documented(root).splitlines() if line.startswith("|") and f"`{name}`" in line]
    cells = [cell.strip() for cell in rules.split("|")]
    assert cells[4] == {"here": "here", "on-device": "on the device"}[target.builds]
    assert cells[5] == ", ".join(target.scheme.operators)
    assert cells[6].split(", ")[0] == target.scheme.activations.dtype
    assert cells[7:9] == [target.scheme.bias, target.scheme.higher_precision]
    values = target.peak.model_dump(exclude_none=True, exclude={"source"}).values()
    printed = {cell.strip() for line in figures for cell in line.split("|")}
    assert {str(value) for value in values} <= printed


def test_the_docs_list_every_shipped_target_and_every_key(root: Path) -> None:
    text = _documented(root)
    keys = {key for schema in (Target, Device, Scheme, TensorScheme, Peak) for key in schema.model_fields}
    missing = [key for key in sorted(keys | set(shipped_names("targets"))) if f"`{key}`" not in text]
    assert [key for key in missing if f"`[{key}]`" not in text] == []


def _documented(root: Path) -> str:
    return (root / "docs" / "targets.md").read_text(encoding="utf-8")

from __future__ import annotations

import pytest

from edgekit.backends.base import Layer
from edgekit.backends.precision import PrecisionShare, precision_shares, require_precision, shares_text
from edgekit.errors import TargetError
from edgekit.targets import Target, load_target

VNNI = load_target("intel-cpu-vnni")


def layer(precision: str, *nodes: str) -> Layer:
    return Layer("kernel", "Convolution", precision, "CPU", nodes)


def asking(precision: str) -> Target:
    return VNNI.model_copy(update={"options": {"device": "CPU", "precision": precision}})


class TestShares:
    def test_are_of_the_work_not_of_the_kernels(self) -> None:
        layers = [layer("int8", "a"), layer("f32", "b"), layer("f32", "relu"), layer("int8", "c")]
        found = precision_shares(layers, {"a": 600, "b": 100, "c": 300, "relu": 0})
        assert found == (PrecisionShare("int8", 2, 0.9), PrecisionShare("f32", 2, 0.1))

    def test_work_that_no_kernel_names_is_said_to_be_unknown(self) -> None:
        found = precision_shares([layer("int8", "a")], {"a": 1, "b": 3})
        assert found == (PrecisionShare("", 0, 0.75), PrecisionShare("int8", 1, 0.25))
        assert shares_text(found) == "not told 75.0 % of the MACs (0 kernels), int8 25.0 % (1)"

    def test_node_in_two_kernels_counts_for_the_first(self) -> None:
        found = precision_shares([layer("int8", "a"), layer("f32", "a")], {"a": 1})
        assert {share.precision: share.macs for share in found} == {"int8": 1.0, "f32": 0.0}

    def test_engine_that_tells_nothing_has_none(self) -> None:
        assert precision_shares([], {"a": 1}) == ()
        assert shares_text(()) == ""

    def test_model_without_work_is_counted_in_kernels(self) -> None:
        assert precision_shares([layer("f32", "a")], {"a": 0}) == (PrecisionShare("f32", 1, 0.0),)


class TestRequirePrecision:
    def test_lower_precision_is_refused_with_the_numbers(self) -> None:
        shares = [PrecisionShare("int8", 4, 0.9), PrecisionShare("bf16", 2, 0.1)]
        with pytest.raises(TargetError, match=r"int8 90\.0 % of the MACs \(4 kernels\), bf16 10\.0 % \(2\)"):
            require_precision("openvino", asking("f32"), shares)

    def test_precision_that_runs_nowhere_is_refused(self) -> None:
        with pytest.raises(TargetError, match="asked to compute in bf16"):
            require_precision("openvino", asking("bf16"), [PrecisionShare("f32", 2, 1.0)])

    @pytest.mark.parametrize(
        "shares",
        [
            (),
            (PrecisionShare("int8", 4, 1.0), PrecisionShare("f32", 9, 0.0)),
            (PrecisionShare("bf16", 4, 0.6), PrecisionShare("f32", 9, 0.4)),
        ],
    )
    def test_kernels_in_a_higher_one_are_let_pass(self, shares: tuple[PrecisionShare, ...]) -> None:
        require_precision("openvino", asking("bf16"), shares)

    def test_without_an_option_the_scheme_says_what_is_asked(self) -> None:
        with pytest.raises(TargetError, match="asked to compute in f32"):
            require_precision("onnxruntime", load_target("arm-cortex-a76"), [PrecisionShare("f16", 1, 1.0)])

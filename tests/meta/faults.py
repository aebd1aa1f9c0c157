"""Faults on purpose: what was seen to go wrong in losses, made in a copy of this package, with the test that sees it.

The first fifteen are those that the test suites of the field miss most of; the rest were found in released code. Those
of the loss come twice where the two paths have nothing in common. What `old` says is looked up in the whole package, so
that a fault outlives a move; where the code is gone, the test of the fault fails and says so.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.meta.changed import Change

PROPERTIES, EDGES = "tests/loss/test_properties.py::", "tests/loss/test_properties_edges.py::"
VALUE = f"{PROPERTIES}test_the_value_is_the_exact_one"
GRADIENT = f"{PROPERTIES}test_the_gradient_is_the_exact_one_times_the_upstream"
BATCHES = f"{PROPERTIES}test_micro_batches_add_up_to_the_batch"
INERT = f"{PROPERTIES}test_an_ignored_position_is_inert_whatever_it_holds"
WEIGHTS = f"{PROPERTIES}test_weights_weigh_what_they_are_said_to_weigh"
TARGET = f"{PROPERTIES}test_a_target_is_its_formula_with_its_entropy_and_its_sum"
RANGE = f"{EDGES}test_a_strength_is_taken_if_it_is_in_the_range_and_refused_if_it_is_not"
LABEL = f"{EDGES}test_a_label_is_taken_if_it_is_a_class_and_refused_if_it_is_not"


class Fault(NamedTuple):
    changes: tuple[Change, ...]
    test: str
    path: str = ""  # the path that has the fault, if one has
    package: str = "sfumato"


OF_THE_FIELD = {
    "the strength is spread over the others where all is said": Fault(
        (Change('if self.over == "others" and self.prior is None:', "if self.prior is None:"),),
        VALUE,
    ),
    "the label keeps all of its mass": Fault(
        (Change("return (1 - eps) + rest, rest, u", "return 1 + rest, rest, u"),), VALUE
    ),
    "the smooth part has no class weights (torch path)": Fault(
        (Change("u = along if u is None else u * along", "u = u if u is None else u * torch.ones_like(along)"),),
        WEIGHTS,
        "torch",
    ),
    "the smooth part has no class weights (kernel)": Fault(
        (Change("u = weight if u is None else u * weight", "u = u"),), WEIGHTS, "kernel"
    ),
    "the smooth part has no gradient (torch path)": Fault(
        (
            Change(
                "times(back.c, _over_classes(rows, back, terms, weight)) for",
                "times(back.c, _over_classes(rows, back, terms, weight)).detach() for",
            ),
        ),
        GRADIENT,
        "torch",
    ),
    "the smooth part has no gradient (kernel)": Fault(
        (Change("f.rest = rest * factor;", "f.rest = 0.0;"),), GRADIENT, "kernel", "kernel"
    ),
    "a mean counts the ignored rows (torch path)": Fault(
        (Change("each.sum() / (each.numel() if valid is None else valid.sum())", "each.sum() / each.numel()"),),
        BATCHES,
        "torch",
    ),
    "a mean counts the ignored rows (kernel)": Fault(
        (Change("call.given.shape.numel() if valid is None else valid.sum()", "call.given.shape.numel()"),),
        BATCHES,
        "kernel",
    ),
    "ignored rows are multiplied by 0, so that NaN gets through": Fault(
        (
            Change(
                "torch.where(valid.unsqueeze(1), z, 0.0)\n    top, index = z.",
                "z * valid.unsqueeze(1)\n    top, index = z.",
            ),
            Change("else torch.where(valid, each, 0.0)", "else each * valid"),
        ),
        INERT,
        "torch",
    ),
    "labels are not looked at": Fault((Change("if labels.numel() == 0 or not readable(labels):", "if True:"),), LABEL),
    "probabilities are not smoothed": Fault(
        (Change("    if eps > 0:\n        # (1 − ε)q", "    if eps < 0:\n        # (1 − ε)q"),),
        f"{PROPERTIES}test_labels_one_hot_probabilities_and_targets_are_smoothed_alike",
    ),
    "probabilities get no gradient": Fault(
        (Change("q = terms.dense.written_out(rows.d.dtype)", "q = terms.dense.written_out(rows.d.dtype).detach()"),),
        f"{EDGES}test_only_the_gradients_that_are_asked_for_exist",
    ),
    "a strength of 1 is one of 0": Fault(
        (Change("(float(label_smoothing), over)", "(float(label_smoothing) % 1, over)"),),
        f"{PROPERTIES}test_no_strength_is_one_hot_and_all_of_it_forgets_the_label_or_forbids_it",
    ),
    "half precision is summed in half precision": Fault(
        (Change("dtype=torch.float32 if low else promoted,", "dtype=promoted,"),),
        f"{EDGES}test_half_precision_is_the_exact_value_rounded_once",
    ),
    "the largest logit is not taken off": Fault(
        (
            Change("d = put(z - top, index, zero)", "d = z"),
            Change("put(d.exp(), index, 0.0).sum(1, dtype=wide).log1p()", "d.exp().sum(1).log()"),
        ),
        VALUE,
        "torch",
    ),
    "strides are taken for those of a contiguous array": Fault(
        (Change("(tensor.stride(0), tensor.stride(1), 1)", "(k, 1, 1)"),),
        "tests/conformance/test_optax.py::test_the_class_axis_may_lie_anywhere_in_memory",
        "kernel",
    ),
    "the upstream gradient is taken for 1": Fault(
        (
            Change("            scale *= upstream_factor\n", ""),
            Change("if upstream_factor == 1.0 and ready is not None", "if ready is not None"),
        ),
        "tests/conformance/test_liger.py::test_a_loss_that_is_not_the_last_layer_passes_its_gradient_on",
        "kernel",
    ),
    "the logits are changed where they lie (torch path)": Fault(
        (Change("    z = z.to(call.dtype)\n", "    z.data.sub_(1.0)\n    z = z.to(call.dtype)\n"),),
        f"{PROPERTIES}test_nothing_that_is_given_is_changed",
        "torch",
    ),
    "the gradient is written over the logits (kernel)": Fault(
        (Change("ready = buffers.empty(z.shape, z.dtype)", "ready = z.detach()"),),
        f"{PROPERTIES}test_nothing_that_is_given_is_changed",
        "kernel",
    ),
}

# Each names the project that it was read in; docs/upstream.md says more.
OF_PEERS = {
    "torch: the smooth part is summed in half precision before its share is taken": Fault(
        (Change("* rows.lse - d.sum(1, dtype=rows.wide)", "* rows.lse - d.half().sum(1).to(rows.wide)"),),
        VALUE,
        "torch",
    ),
    "torch: a strength below 0, and NaN, are 0 without a word": Fault(
        (Change("if not 0.0 <= eps <= 1.0:", "if eps > 1.0:"),), RANGE
    ),
    "TransformerEngine, FLA, Liger: value and gradient belong to different targets": Fault(
        (
            Change(
                "job.run(z.detach(), target, each, ready, **_factors(scale, factor))",
                "label = target.terms.label; hard = label and label._replace(mass=1.0); ready = None; "
                "job.run(z.detach(), target._replace(terms=target.terms._replace(label=hard)), each, None)",
            ),
        ),
        VALUE,
        "kernel",
    ),
    "torch loss_parallel: what cannot be smoothed fails far from where it was asked": Fault(
        (Change("if label_smoothing != 0:", "if False:"),),
        "tests/test_arguments.py::TestBadArguments::test_smoothing_twice",
    ),
    "segmentation_models: the module cannot be made without arguments": Fault(
        (Change("label_smoothing: float = 0.0,\n        *,", "label_smoothing: float | None = None,\n        *,"),),
        "tests/loss/test_module.py::test_permission_to_overwrite_hinders_neither_evaluation_nor_compilation",
    ),
    "segmentation_models: the words say the other convention": Fault(
        (
            Change(
                'where = f"the {k - 1} others" if self.over == "others"',
                'where = f"the {k - 1} others" if self.over != "others"',
            ),
        ),
        "tests/targets/test_targets.py::test_a_target_is_described_in_both_conventions",
    ),
    "ClassyVision: ignored rows are trained towards uniform": Fault(
        (
            Change(
                "torch.where(self.valid.unsqueeze(1), q, 0.0)",
                "torch.where(self.valid.unsqueeze(1), q, 1.0 / self.num_classes)",
            ),
        ),
        TARGET,
    ),
    "Hugging Face: a label below 0 is class 0": Fault(
        (
            Change(
                "    labels = labels.long()\n    valid",
                "    labels = torch.where(labels == ignore_index, labels, labels.clamp(min=0)).long()\n    valid",
            ),
        ),
        "tests/test_arguments.py::TestBadArguments::test_a_label_that_is_no_class",
    ),
    "SpeechBrain: a mean is a sum (torch path)": Fault(
        (Change("each.sum() / (each.numel() if valid is None else valid.sum())", "each.sum()"),),
        BATCHES,
        "torch",
    ),
    "SpeechBrain: a mean is a sum (kernel)": Fault(
        (Change('(scale if call.reduction == "mean" else 1.0)', "1.0"),), BATCHES, "kernel"
    ),
    "Megatron-Core: the number of classes is that of a part of them": Fault(
        (Change("= self.num_classes if u is None else 1.0", "= (self.num_classes + 1) // 2 if u is None else 1.0"),),
        VALUE,
    ),
    "TransformerEngine: the smooth part sums a part of the classes": Fault(
        (Change("* rows.lse - d.sum(1, dtype=rows.wide)", "* rows.lse - d[:, :2].sum(1, dtype=rows.wide)"),),
        VALUE,
        "torch",
    ),
    "Apex: class 0 is ignored unless one says otherwise": Fault(
        (Change("ignore_index: int = -100,\n        reduce:", "ignore_index: int = 0,\n        reduce:"),),
        "tests/loss/test_module.py::test_permission_to_overwrite_hinders_neither_evaluation_nor_compilation",
    ),
    "Apex: a number of the backward pass goes through half precision": Fault(
        (Change("upstream_factor = float(upstream)", "upstream_factor = float(upstream.half())"),),
        "tests/loss/test_functional.py::test_a_loss_scale_of_65536_reaches_float16_gradients",
        "kernel",
    ),
    "flash-attention: a label that is no class has some gradient": Fault(
        (
            Change(
                "    check_labels(labels, valid, num_classes, owner)\n",
                "    labels = torch.where(labels == ignore_index, labels, labels.clamp(0, num_classes - 1))\n",
            ),
        ),
        LABEL,
    ),
    "LightGBM: labels that are fractions are cut off": Fault(
        (Change("if labels.is_floating_point() or labels.is_complex()", "if labels.is_complex()"),),
        "tests/targets/test_targets.py::test_what_is_wrong_is_said_with_place_and_value",
    ),
    "CoinCheung: the target sums to less than 1": Fault(
        (Change("return (1 - eps) + rest, rest, u", "return 1 - eps, rest, u"),), TARGET
    ),
    "Paddle: smoothing turns ignore_index off": Fault(
        (
            Change(
                "make(plain, ignore_index, unbatched)",
                "make(plain, ignore_index if label_smoothing == 0 else -(1 << 40), unbatched)",
            ),
        ),
        "tests/conformance/test_fairseq.py::test_padding_adds_nothing",
    ),
    "VISSL: smoothing drops the class weights": Fault(
        (
            Change(
                "        weight=weight,\n        weight_on=",
                "        weight=None if label_smoothing else weight,\n        weight_on=",
            ),
        ),
        "tests/conformance/test_torch_nn.py::test_smoothed_labels_are_smoothed_probabilities",
    ),
}

_HALF = "a >= 0x477FF000u ? infinite : a < 0x38800000u ? {} : normal"

# In the arithmetic of a row: each takes a few seconds to compile.
OF_THE_KERNEL = {
    "no mass at an impossible class is NaN": Fault(
        (
            Change("q_y == 0.0 ? 0.0 : q_y * d_y", "q_y * d_y"),
            Change("rest == 0.0 ? 0.0 : rest * sum_d", "rest * sum_d"),
        ),
        f"{EDGES}test_an_impossible_class_costs_nothing_without_mass_and_everything_with_it",
        "kernel",
        "kernel",
    ),
    "the gradient of the largest logit is a difference of near equals": Fault(
        (Change("(S_without_top - S * (sum * inverse)) * factor", "(S * inverse - (S - S_without_top)) * factor"),),
        "tests/loss/test_functional.py::test_the_gradient_of_a_confident_row_keeps_its_digits",
        "kernel",
        "kernel",
    ),
    "bfloat16 is cut off, not rounded": Fault(
        (Change("(u + 0x7FFFu + ((u >> 16) & 1u)) >> 16", "u >> 16"),),
        "tests/kernel/test_kernel.py::test_gradients_of_halves_are_those_of_float32_rounded_to_the_nearest",
        package="kernel",
    ),
    "subnormals of half precision are lost": Fault(
        (Change(_HALF.format("small"), _HALF.format("0u")),),
        "tests/loss/test_functional.py::test_a_loss_scale_of_65536_reaches_float16_gradients",
        "kernel",
        "kernel",
    ),
}

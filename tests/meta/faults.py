"""Faults on purpose: what was seen to go wrong in losses, made in a copy of this package, with the test that sees it.

The first fifteen are those that the test suites of the field miss most of; the rest were found in released code. What a
caller can meet is made as a change of what a public function takes and gives (``planted``), which knows nothing of the
insides. What only a path of the loss can do wrong is a change of its text, once for each path; the text is looked up in
the whole package, however its lines are broken, and where it is gone, the test of the fault fails and says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

from tests.meta import planted as p
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
    made: tuple[Change, ...] | Callable[[], None]  # of a copy's text, or in the process of the tests
    test: str
    path: str = ""  # the path that has the fault, if one has
    package: str = "sfumato"
    only: str = ""  # what the ids of the test must hold, where others cannot see the fault


OF_THE_FIELD = {
    "the strength is spread over the others where all is said": Fault(
        p.planted(p.replaced("over", lambda a: "others"), "smooth"), VALUE, only="smooth"
    ),
    "the label keeps all of its mass": Fault(
        p.planted(p.mass_of_the_label(torch.ones_like), "smooth"), VALUE, only="smooth"
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
    "a mean counts the ignored rows": Fault(p.planted(p.mean_over_every_row), BATCHES),
    "ignored rows are multiplied by 0, so that NaN gets through": Fault(
        (
            Change(
                "return z if valid is None else torch.where(valid.unsqueeze(1), z, 0.0)",
                "return z if valid is None else z * valid.unsqueeze(1)",
            ),
            Change("else torch.where(valid, each, 0.0)", "else each * valid"),
        ),
        INERT,
        "torch",
    ),
    "labels are not looked at": Fault(p.without("check_labels"), LABEL),
    "probabilities are not smoothed": Fault(
        p.planted(p.replaced("label_smoothing", lambda a: 0.0 if p.is_probabilities(a) else a["label_smoothing"])),
        f"{PROPERTIES}test_labels_one_hot_probabilities_and_targets_are_smoothed_alike",
    ),
    "probabilities get no gradient": Fault(
        p.planted(p.replaced("target", lambda a: a["target"].detach() if p.is_probabilities(a) else a["target"])),
        f"{EDGES}test_only_the_gradients_that_are_asked_for_exist",
    ),
    "a strength of 1 is one of 0": Fault(
        p.planted(p.replaced("label_smoothing", lambda a: a["label_smoothing"] % 1)),
        f"{PROPERTIES}test_no_strength_is_one_hot_and_all_of_it_forgets_the_label_or_forbids_it",
    ),
    "half precision is summed in half precision": Fault(
        p.planted(p.summed_in_the_type_of_the_logits),
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
        p.planted(p.gradient_is(lambda upstream, a: torch.ones_like(upstream))),
        "tests/conformance/test_liger.py::test_a_loss_that_is_not_the_last_layer_passes_its_gradient_on",
    ),
    "the logits are changed where they lie": Fault(
        p.planted(p.changes_the_logits), f"{PROPERTIES}test_nothing_that_is_given_is_changed"
    ),
    "something is written over the logits on the way back": Fault(
        p.planted(p.gradient_is(p.write_over_the_logits)),
        f"{PROPERTIES}test_nothing_that_is_given_is_changed",
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
        p.planted(p.replaced("label_smoothing", lambda a: a["label_smoothing"] if a["label_smoothing"] > 0 else 0.0)),
        RANGE,
    ),
    "TransformerEngine, FLA, Liger: value and gradient belong to different targets": Fault(
        p.planted(p.value_of_another_target), VALUE
    ),
    "torch loss_parallel: what cannot be smoothed fails far from where it was asked": Fault(
        p.planted(p.replaced("label_smoothing", lambda a: 0.0 if p.is_target(a) else a["label_smoothing"])),
        "tests/test_arguments.py::TestBadArguments::test_smoothing_twice",
    ),
    "segmentation_models: the module cannot be made without arguments": Fault(
        p.with_default("CrossEntropyLoss", "label_smoothing", None),
        "tests/loss/test_module.py::test_permission_to_overwrite_hinders_neither_evaluation_nor_compilation",
    ),
    "segmentation_models: the words say the other convention": Fault(
        p.planted(p.the_other_convention, "Target.describe"),
        "tests/targets/test_targets.py::test_a_target_is_described_in_both_conventions",
    ),
    "ClassyVision: ignored rows are trained towards uniform": Fault(
        p.planted(p.ignored_rows_are_uniform, "Target.to_dense"), TARGET
    ),
    "Hugging Face: a label below 0 is class 0": Fault(
        p.planted(p.labels_as(lambda y, a: y.clamp(min=0))),
        "tests/test_arguments.py::TestBadArguments::test_a_label_that_is_no_class",
    ),
    "SpeechBrain: a mean is a sum": Fault(
        p.planted(p.replaced("reduction", lambda a: "sum" if a["reduction"] == "mean" else a["reduction"])),
        BATCHES,
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
        p.with_default("CrossEntropyLoss", "ignore_index", 0),
        "tests/loss/test_module.py::test_permission_to_overwrite_hinders_neither_evaluation_nor_compilation",
    ),
    "Apex: a number of the backward pass goes through half precision": Fault(
        p.planted(p.gradient_is(lambda upstream, a: upstream.half().to(upstream.dtype))),
        "tests/loss/test_loss.py::test_a_loss_scale_of_65536_reaches_float16_gradients",
    ),
    "flash-attention: a label that is no class has some gradient": Fault(
        p.planted(p.labels_as(lambda y, a: y.clamp(0, a["input"].shape[1] - 1))), LABEL
    ),
    "LightGBM: labels that are fractions are cut off": Fault(
        p.planted(p.replaced("labels", lambda a: a["labels"].long()), "one_hot", "smooth"),
        "tests/targets/test_refused.py::test_what_is_wrong_is_said_with_place_and_value",
    ),
    "CoinCheung: the target sums to less than 1": Fault(
        p.planted(p.mass_of_the_label(lambda q: q - q.amin(p.class_axis(q), keepdim=True)), "smooth"),
        TARGET,
        only="smooth",
    ),
    "Paddle: smoothing turns ignore_index off": Fault(
        p.planted(p.replaced("ignore_index", lambda a: a["ignore_index"] if a["label_smoothing"] == 0 else -(1 << 40))),
        "tests/conformance/test_fairseq.py::test_padding_adds_nothing",
    ),
    "VISSL: smoothing drops the class weights": Fault(
        p.planted(p.replaced("weight", lambda a: None if a["label_smoothing"] else a["weight"])),
        "tests/conformance/test_torch_nn.py::test_smoothed_labels_are_smoothed_probabilities",
    ),
}

LIGHTNING, HEAD = "tests/adapters/test_lightning.py::", "tests/loss/linear/test_linear.py::"
_GROUPED = "if group is not None or (distributed.is_available() and distributed.is_initialized()):"
ZERO = "tests/loss/test_loss.py::test_a_mass_of_0_keeps_its_derivative"
CAPS = f"{HEAD}test_caps_z_losses_and_weights_are_in_both_losses_and_in_the_gradients"
WORKER = (
    "tests/lab/execute/test_processes.py::test_a_worker_has_one_thread_and_the_rows_of_the_fold_that_it_was_sent_last"
)
NOT_COUNTED = (
    "tests/loss/penalty/test_penalty.py::test_a_row_without_weight_costs_nothing_even_where_its_penalty_is_infinite"
)

# Between processes, and where a mass is 0: what the tests of single losses do not meet.
OF_RANKS_AND_ZEROS = {
    "Lightning: scores are of the rows of one rank": Fault(
        (Change("for batch in loader ]", "for batch in [*loader][trainer.global_rank :: trainer.world_size] ]"),),
        f"{LIGHTNING}test_of_two_processes_the_first_alone_saves_all_rows",
    ),
    "Lightning: every rank saves its scores": Fault(
        (Change("if not trainer.is_global_zero: return", "if trainer.world_size < 1: return"),),
        f"{LIGHTNING}test_of_two_processes_the_first_alone_saves_all_rows",
    ),
    "Lightning: a loader of one rank's rows is taken for all": Fault(
        (Change('"num_replicas", 1) > 1', '"num_replicas", 1) > 2'),),
        f"{LIGHTNING}test_a_loader_of_the_rows_of_one_rank_is_refused",
    ),
    "Lightning: an epoch is measured on the rows of one rank": Fault(
        (Change("return [part for each in gathered for part in each]", "return kept"),),
        f"{LIGHTNING}test_watch_measures_the_rows_of_all_ranks",
    ),
    "Hugging Face: every process saves its scores": Fault(
        (Change("if not state.is_world_process_zero: return", "if state is None: return"),),
        "tests/adapters/hf/test_trainer.py::test_a_process_that_is_not_the_first_saves_nothing",
    ),
    "workers train with all threads": Fault(
        (Change("torch.set_num_threads(1) with contextlib.suppress", "with contextlib.suppress"),), WORKER
    ),
    "workers keep the rows of their first fold": Fault((Change("sent[1] or parts", "parts or sent[1]"),), WORKER),
    "items are counted on one rank unless there is a group": Fault(
        (Change(f"{_GROUPED} return RankGroup", "if group is not None: return RankGroup"),),
        "tests/parallel/test_count_items.py::test_without_a_group_the_rows_of_all_ranks_are_counted",
    ),
    "an epoch's table is of the rows of one rank unless there is a group": Fault(
        (Change(f"{_GROUPED} distributed.all_reduce", "if group is not None: distributed.all_reduce"),),
        "tests/loss/test_online.py::test_ranks_have_one_table_and_it_is_that_of_one_process",
    ),
    "a penalty that is infinite makes a row without weight NaN": Fault(
        (Change("return mass * costless(mass, surprisal)", "return mass * surprisal"),), NOT_COUNTED
    ),
    "a penalty without strength is computed": Fault(
        (Change("if strength == 0:", "if strength < 0:"),),
        "tests/loss/penalty/test_penalty.py::test_without_strength_it_is_the_cross_entropy_to_the_bit",
    ),
    "an impossible class makes the entropy NaN": Fault(
        (Change("(p * torch.where(surprisal.isinf(), 0.0, surprisal))", "(p * surprisal)"),),
        "tests/loss/penalty/test_penalty.py::test_a_class_without_mass_may_be_impossible",
    ),
    "the ignored label is not in the line of a prior": Fault(
        (Change("{_tensor(self.prior)}, {self.eps:.10g}{ignore})", "{_tensor(self.prior)}, {self.eps:.10g})"),),
        "tests/probe/test_recipe.py::test_the_line_gives_the_loss",
    ),
    "the ignored label is not in the line of a padding class": Fault(
        (Change("support={support}{ignore})", "support={support})"),),
        "tests/probe/test_recipe.py::test_the_line_gives_the_loss",
    ),
    "a mass of 0 has no derivative": Fault(
        (
            Change(
                "torch.where((mass == 0) & ~surprisal.isfinite(), 0.0, surprisal)",
                "torch.where(mass == 0, 0.0, surprisal)",
            ),
        ),
        ZERO,
    ),
    "JAX: a probability of 0 has no derivative": Fault(
        (Change("jnp.where((q == 0) & jnp.isinf(surprisal)", "jnp.where((q == 0)"),),
        "tests/adapters/test_jax.py::test_a_probability_of_0_keeps_its_derivative",
    ),
    "Keras: a probability of 0 has no derivative": Fault(
        (Change("ops.logical_and(q == 0, ops.isinf(surprisal))", "q == 0"),),
        "tests/adapters/test_keras.py::test_a_probability_of_0_keeps_its_derivative",
    ),
    "the logits of half inputs are rounded": Fault(
        (Change("_multiply(x, weight.t(), z)", "z.copy_(x @ weight.t())"),),
        f"{HEAD}test_half_inputs_have_the_loss_of_their_exact_logits",
    ),
    "the z-loss of a layer is divided by class weights": Fault(
        (Change("z_loss and z_loss * unweighed_share(call, num_items)", "z_loss"),), CAPS
    ),
    "the z-loss of logits has class weights": Fault(
        (Change("of_rows = weigh(call, wide).factor", "of_rows = weigh(call, wide).mass"),), CAPS
    ),
    "weights of rows stay where the targets are shifted": Fault(
        (Change("else sample_weight[..., 1:]", "else sample_weight[..., :-1]"),),
        f"{HEAD}test_weights_of_rows_get_a_gradient_and_move_with_the_shift",
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
        (
            Change(
                "f.at_top = (S_without_top - S * (sum * inverse)) * factor",
                "f.at_top = (S * inverse - (S - S_without_top)) * factor",
            ),
        ),
        "tests/loss/test_loss.py::test_the_gradient_of_a_confident_row_keeps_its_digits",
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
        "tests/loss/test_loss.py::test_a_loss_scale_of_65536_reaches_float16_gradients",
        "kernel",
        "kernel",
    ),
}

FAULTS = OF_THE_FIELD | OF_PEERS | OF_RANKS_AND_ZEROS | OF_THE_KERNEL

"""The closed forms against mpmath, against their own inverses, and against counted gradient steps."""

from __future__ import annotations

import subprocess
import sys
import warnings

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from sfumato import conventions, theory

mpmath.mp.dps = 50
OVERS = ("others", "all")
CLASSES = (2, 3, 10, 1000, 10**6)
STRENGTHS = (1e-300, 1e-8, 0.05, 0.1, 0.5, 0.999)


def mp_target(eps: float, k: int, over: str) -> tuple[mpmath.mpf, mpmath.mpf]:
    e = mpmath.mpf(eps)
    return (1 - e, e / (k - 1)) if over == "others" else (1 - e + e / k, e / k)


@pytest.mark.parametrize("over", OVERS)
@pytest.mark.parametrize("k", CLASSES)
@pytest.mark.parametrize("eps", STRENGTHS)
def test_gap_and_floor_are_the_log_ratio_and_the_entropy_of_the_target(eps, k, over):
    true, other = mp_target(eps, k, over)
    assert theory.optimal_gap(eps, k, over=over) == pytest.approx(float(mpmath.log(true / other)), rel=1e-14, abs=1e-14)
    entropy = -true * mpmath.log(true) - (k - 1) * other * mpmath.log(other)
    assert theory.loss_floor(eps, k, over=over) == pytest.approx(float(entropy), rel=1e-14)


@pytest.mark.parametrize("over", OVERS)
def test_the_ends_of_the_range(over):
    assert theory.optimal_gap(0.0, 10, over=over) == np.inf
    assert theory.loss_floor(0.0, 10, over=over) == 0
    assert theory.optimal_gap(1.0, 10, over=over) == (-np.inf if over == "others" else 0)
    assert theory.loss_floor(1.0, 10, over=over) == pytest.approx(np.log(9 if over == "others" else 10))
    assert theory.eps_for_gap(np.inf, 10, over=over) == 0


@given(st.floats(0, 1), st.integers(2, 10**6))
def test_converted_strengths_have_one_target(eps, k):
    converted = theory.convert_eps(eps, k, frm="all", to="others")
    assert conventions.others.target(converted, k) == pytest.approx(conventions.all.target(eps, k), rel=1e-12)
    assert theory.convert_eps(converted, k, frm="others", to="all") == pytest.approx(eps, rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64], ids=str)
def test_conversion_takes_back_what_it_gave_in_any_type(dtype):
    for k in (2, 3, 6, 7, 11, 1000, 128256):
        there = theory.convert_eps(torch.tensor(1.0, dtype=dtype), k, frm="all", to="others")
        assert theory.convert_eps(there, k, frm="others", to="all") == 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64], ids=str)
def test_four_units_of_its_type_above_what_all_can_express_are_rounding_and_more_is_an_error(dtype):
    unit = torch.finfo(dtype).eps  # of numbers from 1; ε = 1/2, where K = 2 has its limit, is stored to half of it
    rounded = torch.tensor(0.5 + 2 * unit, dtype=dtype)
    assert theory.convert_eps(rounded, 2, frm="others", to="all") == 1
    with pytest.raises(ValueError, match=r"is above \(K-1\)/K"):
        theory.convert_eps(rounded + unit / 2, 2, frm="others", to="all")


@pytest.mark.parametrize("over", OVERS)
def test_the_optimal_logits_are_the_gap_and_0_each_moved_by_alpha(over):
    gap = theory.optimal_gap(0.1, 10, over=over)
    assert theory.optimal_logits(0.1, 10, over=over) == (gap, 0.0)
    assert theory.optimal_logits(0.1, 10, over=over, alpha=-2.5) == (gap - 2.5, -2.5)


@pytest.mark.parametrize("whole", [1, torch.tensor(1), np.array(1)], ids=["number", "tensor", "array"])
def test_a_whole_strength_has_no_rounding_to_allow_for(whole):
    with pytest.raises(ValueError, match=r"is above \(K-1\)/K"):
        theory.convert_eps(whole, 10, frm="others", to="all")
    assert theory.convert_eps(whole, 10, frm="all", to="others") == pytest.approx(0.9)


@pytest.mark.parametrize("over", OVERS)
def test_a_strength_converted_to_its_own_convention_is_itself(over):
    assert theory.convert_eps(0.3, np.array([2, 10]), frm=over, to=over).tolist() == [0.3, 0.3]


@given(st.floats(-1600, 1600), st.sampled_from([*CLASSES, 10**15]), st.sampled_from(OVERS))
@example(712.0, 10**6, "others")  # where e^d itself overflows, and e^−d is subnormal
@example(712.0, 10**6, "all")
def test_the_strength_of_a_gap_has_all_its_digits(gap, k, over):
    gap = abs(gap) if over == "all" else gap
    exact = (k - (over == "others")) / (k - 1 + mpmath.exp(gap))
    assert theory.eps_for_gap(gap, k, over=over) == pytest.approx(float(exact), rel=1e-15, abs=5e-324)


@mpmath.workdps(700)
def mp_time(d: float, eps: float, k: int, over: str, lr: float) -> tuple[mpmath.mpf, mpmath.mpf]:
    """The time to a gap, and the speed there."""
    d, lr, (true, other) = mpmath.mpf(d), mpmath.mpf(lr), mp_target(eps, k, over)
    wrong, above = (k - 1) * other, (1 - mpmath.mpf(eps)) * (k - (over == "all")) - (over == "others")
    x = mpmath.expm1(d) / above
    speed = lr * k / (k - 1) * ((above - wrong * mpmath.expm1(d)) / (k - 1 + mpmath.exp(d)))
    if true == 0:
        return (k - 1) / (lr * k) * ((k - 1) * mpmath.expm1(-d) - d), speed
    return (k - 1) / (lr * k * true) * (d - mpmath.log1p(-wrong * x) / wrong if wrong else d + x), speed


@given(
    st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1), st.floats(0.1, 300).map(lambda n: 10**-n),
              st.floats(0.1, 15.5).map(lambda n: 1 - 10**-n)),
    st.sampled_from([*CLASSES, 10**9]),
    st.floats(1e-3, 0.999),
    st.sampled_from(OVERS),
    st.sampled_from([1.0, 1e3, 1e-3]),
)  # fmt: skip
@example(0.999999, 10**6, 0.3, "all", 1.0)  # where 1 − (1 − q) has no more than ten digits of q
@example(0.0, 10**6, 711 / 1000, "all", 1e3)  # where e^d itself overflows
@example(0.0, 10**6, 729.9 / 1000, "others", 1e3)
def test_time_and_gap_have_all_their_digits(eps, k, share, over, lr):
    optimum = theory.optimal_gap(eps, k, over=over)
    gap = share * (optimum if np.isfinite(optimum) else np.copysign(1000.0, optimum))
    time = theory.time_to_gap(gap, k, eps=eps, over=over, lr=lr)
    if time in (0, np.inf):
        assert gap == 0 or mp_time(gap, eps, k, over, lr)[0] > 1e308
        return
    exact, speed = mp_time(gap, eps, k, over, lr)
    unit = 1e-15 * (1 + (1 - eps) * k / abs((1 - eps) * k - 1)) if over == "others" else 2e-15
    moved = abs(gap / (speed * exact))  # by how much more the time moves than the gap that it is asked of
    assert abs(time - exact) <= unit * max(1, moved) * exact
    back = theory.gap_after_time(time, k, eps=eps, over=over, lr=lr)
    exact, speed = mp_time(back, eps, k, over, lr)
    assert abs((exact - time) * speed) <= unit * abs(gap)


def test_the_longest_time_still_has_a_gap():
    assert theory.gap_after_time(1e306, 10, eps=0.0, over="all") == pytest.approx(307 * np.log(10))
    assert theory.gap_after_time(1e308, 10, eps=0.0, over="all") > 709  # where e^d itself overflows


@pytest.mark.parametrize(("gap", "counted", "formula"), [(6, 44, 45.6), (8, 303, 305.2), (10, 2208, 2211.5)])
def test_one_hot_time_is_the_formula_and_close_to_counted_steps(gap, counted, formula):
    assert steps_to_gap(gap, 10, q_true=1.0) == counted
    time = theory.time_to_gap(float(gap), 10, eps=0.0, over="others")
    assert time == pytest.approx(formula, abs=0.05)
    assert abs(time - counted) / counted < 0.05


@pytest.mark.parametrize(("share", "counted"), [(0.9, 14), (0.99, 36), (0.999, 60)])
def test_smoothed_time_is_close_to_counted_steps(share, counted):
    gap = share * theory.optimal_gap(0.1, 10, over="all")
    assert steps_to_gap(gap, 10, q_true=0.91) == counted
    assert theory.time_to_gap(gap, 10, eps=0.1, over="all") == pytest.approx(counted, rel=0.1)


def steps_to_gap(gap: float, k: int, q_true: float) -> int:
    """Plain gradient descent of step 1 on K free logits, counted until the gap is reached."""
    target = np.full(k, (1 - q_true) / (k - 1))
    target[0] = q_true
    logits, steps = np.zeros(k), 0
    while logits[0] - logits[1] < gap:
        p = np.exp(logits - logits.max())
        logits -= p / p.sum() - target
        steps += 1
    return steps


@pytest.mark.parametrize("over", OVERS)
@pytest.mark.parametrize("k", [2, 10, 10**5])
@pytest.mark.parametrize("eps", [0.0, 1e-10, 0.1, 0.7, 0.95, 0.99999999, 1.0])
def test_time_is_the_integral_of_one_over_the_speed(eps, k, over):
    true, _ = mp_target(eps, k, over)
    optimum = theory.optimal_gap(eps, k, over=over)
    if abs(optimum) < 1e-9:
        assert theory.time_to_gap(0.5, k, eps=eps, over=over) == np.inf
        return
    gap = float(np.sign(optimum) * min(abs(optimum) * 0.9, 8.0))

    def slowness(d: mpmath.mpf) -> mpmath.mpf:
        return 1 / (mpmath.mpf(0.5) * k / (k - 1) * (true - 1 / (1 + (k - 1) * mpmath.exp(-d))))

    exact = mpmath.quad(slowness, mpmath.linspace(0, gap, 9))
    assert theory.time_to_gap(gap, k, eps=eps, over=over, lr=0.5) == pytest.approx(float(exact), rel=1e-9)


@pytest.mark.parametrize("k", [*CLASSES, 10**15])
def test_the_gap_of_one_hot_after_a_time_has_all_its_digits(k):
    times = np.array([1e-9, 1e-3, 1.0, 1e3, 1e9, 1e290])
    gaps = theory.gap_after_time(times, k, eps=0.0, over="others", lr=0.5)
    for time, gap in zip(times, gaps, strict=True):
        right = 1 + mpmath.mpf(0.5) * k * mpmath.mpf(float(time))  # e^d + (K−1)d = 1 + ηKt
        step = mpmath.exp(gap) + (k - 1) * mpmath.mpf(float(gap)) - right
        exact = gap - step / (mpmath.exp(gap) + k - 1)  # one of Newton's steps, so near the root, is the root
        assert abs(gap - exact) <= 4e-16 * exact, time


@pytest.mark.parametrize("k", [2, 10, 10**6])
def test_the_time_to_a_gap_of_one_hot_is_taken_back_to_the_last_bit(k):
    gaps = np.linspace(20, 600, 59)  # where each unit of a gap is many of its time
    times = theory.time_to_gap(gaps, k, eps=0.0, over="others")
    assert theory.gap_after_time(times, k, eps=0.0, over="others").tolist() == gaps.tolist()


@pytest.mark.parametrize("eps", [0.1, 0.97])
def test_the_gap_after_no_time_is_zero_without_a_sign(eps):
    assert str(theory.gap_after_time(0.0, 10, eps=eps, over="others")) == "0.0"


def test_the_optimum_and_what_lies_beyond_is_never_reached():
    gap = theory.optimal_gap(0.1, 10, over="all")
    times = theory.time_to_gap(np.array([0.0, gap, gap + 1, -1.0]), 10, eps=0.1, over="all")
    assert times.tolist() == [0, np.inf, np.inf, np.inf]
    assert theory.gap_after_time(np.inf, 10, eps=0.1, over="all") == gap
    assert theory.gap_after_time(np.inf, 10, eps=0.0, over="all") == np.inf


@pytest.mark.parametrize("over", OVERS)
@pytest.mark.parametrize("k", [2, 3, 10])
def test_no_rounding_of_a_strength_lets_its_optimum_be_reached(k, over):
    for eps in np.linspace(0.001, 0.999, 499):
        optimum = theory.optimal_gap(float(eps), k, over=over)
        short_of_it = np.nextafter(optimum, 0)
        times = theory.time_to_gap(np.array([optimum, short_of_it]), k, eps=float(eps), over=over)
        assert times[0] == (np.inf if optimum else 0)
        assert times[1] >= 0  # so near, rounding may say either a time or never


def test_the_kind_that_goes_in_comes_out():
    assert type(theory.optimal_gap(0.1, 10, over="all")) is float
    array = theory.optimal_gap(np.array([[0.1, 0.2]], dtype=np.float32), 10, over="all")
    assert (array.dtype, array.shape) == (np.float32, (1, 2))
    tensor = theory.optimal_gap(torch.tensor([0.1, 0.2]), 10, over="all")
    assert isinstance(tensor, torch.Tensor)
    assert (tensor.dtype, tensor.shape) == (torch.float32, (2,))
    assert tensor.tolist() == pytest.approx([4.51085951, 3.71357207])
    assert theory.optimal_gap([0.1, 0.2], 10, over="all").shape == (2,)
    assert theory.eps_for_gap(torch.tensor([1, 2]), 10, over="all").dtype == torch.get_default_dtype()
    assert theory.eps_for_gap(np.array([1, 2]), 10, over="all").dtype == np.float64
    many = theory.loss_floor(0.1, np.array([2, 10]), over="all")
    assert many.tolist() == pytest.approx([0.198515, 0.500288], abs=1e-5)


CALLS = {
    "optimal_logits": lambda eps, k, over: theory.optimal_logits(eps, k, over=over),
    "optimal_gap": lambda eps, k, over: theory.optimal_gap(eps, k, over=over),
    "loss_floor": lambda eps, k, over: theory.loss_floor(eps, k, over=over),
    "convert_eps": lambda eps, k, over: theory.convert_eps(eps, k, frm=over, to="all"),
    "time_to_gap": lambda eps, k, over: theory.time_to_gap(1.0, k, eps=eps, over=over),
    "gap_after_time": lambda eps, k, over: theory.gap_after_time(1.0, k, eps=eps, over=over),
}


@pytest.mark.parametrize("name", CALLS)
def test_bad_values_are_named(name):
    call = CALLS[name]
    for eps in (-0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match=rf"^eps must be in \[0, 1\], got {eps:g}$"):
            call(eps, 10, "others")
    for k in (1, 2.5, float("inf")):
        with pytest.raises(ValueError, match=f"^num_classes must be a whole number from 2, got {k:g}$"):
            call(0.1, k, "others")
    with pytest.raises(ValueError, match=r'^over must be "others" .* or "all" .*, got \'uniform\'$'):
        call(0.1, 10, "uniform")


def test_the_first_offender_of_an_array_is_named():
    with pytest.raises(ValueError, match=r"got 1\.2$"):
        theory.optimal_gap(np.array([0.1, 1.2, -3.0]), 10, over="all")
    with pytest.raises(ValueError, match=r"time must be at least 0, got -1"):
        theory.gap_after_time(-1.0, 10, eps=0.1, over="all")
    with pytest.raises(ValueError, match=r"lr must be a finite number above 0, got 0"):
        theory.time_to_gap(1.0, 10, eps=0.1, over="all", lr=0.0)
    with pytest.raises(ValueError, match=r'gap must be at least 0 with over="all", got -1'):
        theory.eps_for_gap(-1.0, 10, over="all")
    assert theory.eps_for_gap(0.0, 10, over="all") == 1


def test_a_gap_that_is_no_number_and_an_unknown_convention_are_refused_everywhere():
    for over in OVERS:
        with pytest.raises(ValueError, match="^gap must be a number, got nan$"):
            theory.eps_for_gap(np.nan, 10, over=over)
        with pytest.raises(ValueError, match="^gap must be a number, got nan$"):
            theory.time_to_gap(np.nan, 10, eps=0.1, over=over)
    with pytest.raises(ValueError, match='^over must be "others"'):
        theory.eps_for_gap(1.0, 10, over="uniform")
    with pytest.raises(ValueError, match='^over must be "others"'):
        theory.convert_eps(0.1, 10, frm="others", to="uniform")


def test_no_value_of_the_range_warns():
    grid = np.array([0.0, 5e-324, 1e-300, 0.5, 0.9, np.nextafter(1, 0), 1.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for over in OVERS:
            for k in CLASSES:
                theory.optimal_gap(grid, k, over=over)
                theory.loss_floor(grid, k, over=over)
                for eps in grid:
                    theory.gap_after_time(np.array([0.0, 1e-300, 1.0, 1e300, np.inf]), k, eps=float(eps), over=over)


def test_the_closed_forms_do_not_load_torch():
    code = "import sys, sfumato.theory, sfumato.conventions; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)

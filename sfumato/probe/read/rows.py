r"""Read every row of a pass: its label, its strength, and the factor that its gradient was multiplied by.

For a row of a cross entropy ∂L/∂z_k = c·(p_k − q_k). All classes but the label have the same mass q_k = b, so their
gradients lie on the line c·p_k − c·b: its slope is the row's factor and its zero is b. The label is the class that is
off that line. A few hundred classes are enough for the line, so that a large vocabulary costs one log-sum-exp.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sfumato.probe.read.extra_terms import minimise
from sfumato.probe.read.levels import MAX_CLASSES, ClassSpread, class_levels

MANY = 512
"""Numbers of classes up to which all are read. Of more, half as many are read, and the extremes of each row."""

AT_ONCE = 1 << 22
"""Logits that are read at once, so that no second array of their size is made."""

MAX_ROWS, MAX_ROWS_OF_MANY = 4096, 128
"""Rows of one pass that are read, of up to :data:`MANY` classes and of more. Of every other row only the label is read,
by the smallest gradient."""

LOG_TEMPERATURES = np.linspace(-np.log(32), np.log(32), 61)

Array = np.ndarray[Any, Any]


class Form(Enum):
    """What a model's outputs are."""

    LOGITS = "logits"
    PROBABILITIES = "probabilities"
    LOG_PROBABILITIES = "log-probabilities"
    SOFTMAX_OF_PROBABILITIES = "probabilities as logits"
    TWO_SOFTMAXES = "logits of two softmaxes"


@dataclass(frozen=True)
class ReadRows:
    """What one pass says of its R rows; each array is (R,), in float64 unless it says otherwise."""

    classes: int  # K
    live: Array  # bool, whether the row has a gradient
    label: Array  # int64, the class off the line; −1 where the row has no gradient
    others: Array  # int64, how many classes besides the label are off the line
    factor: Array  # c, the slope of the line; NaN where all classes have the same probability
    eps: Array  # K·b, the strength over all classes
    doubt: Array  # the standard error of eps
    mass: Array  # Σq
    misfit: Array  # what the line leaves, in parts of the gradients
    unbalanced: Array  # Σ_k ∂L/∂z_k in parts of Σ_k |∂L/∂z_k|
    sum_gp: Array  # Σ g·p of the classes on the line, as are the next four
    sum_g: Array
    sum_p: Array
    sum_pp: Array
    on_line: Array  # how many they are
    p_label: Array
    g_label: Array
    beside_p: Array  # bool, whether a term in proportion to p is beside the cross entropy
    spread: ClassSpread | None  # whether each class has a level of its own
    coarse: bool  # whether the gradients have the digits of half precision
    finite: bool
    form: Form
    divisor: float = 1.0  # what the loss divides the logits by

    def factors(self, eps: float) -> Array:
        """The factor c of each row, once the strength of all is known.

        It is g/(p − q) of the label, or that of the other classes together, whichever loses less to rounding.
        Rows with more than one class off the line keep the slope of their own line.
        """
        b = eps / self.classes
        a = 1 - (self.classes - 1) * b
        under = np.maximum(self.sum_pp - 2 * b * self.sum_p + self.on_line * b * b, 0)
        with np.errstate(all="ignore"):
            by_label, by_others = self.g_label / (self.p_label - a), (self.sum_gp - b * self.sum_g) / under
            lost_by_label = (self.p_label + a) / np.abs(self.p_label - a)
            lost_by_others = (np.sqrt(self.sum_pp) + b * np.sqrt(self.on_line)) / np.sqrt(under)
            known = np.where(lost_by_label <= lost_by_others, by_label, by_others)
        own_line = (self.others > 0) | self.beside_p | (self.live & (self.spread is not None))
        return np.where(own_line | ~np.isfinite(known), self.factor, known)

    def rounding(self, eps: float) -> Array:
        """What float32 loses of p − q on the line, as a part of it."""
        b = eps / self.classes
        under = np.maximum(self.sum_pp - 2 * b * self.sum_p + self.on_line * b * b, 1e-300)
        return 1e-7 * (np.sqrt(self.sum_pp) + b * np.sqrt(self.on_line)) / np.sqrt(under)

    @property
    def mass_beside(self) -> Array:
        """The mass of the classes off the line beside the label: a share in mixup, below 0 where a term pushes down."""
        with np.errstate(all="ignore"):
            own = self.p_label - self.g_label / self.factor
        return self.mass - own - (self.classes - 1 - self.others) * self.eps / self.classes

    @property
    def is_sure(self) -> Array:
        """Rows that are sure of a class. With the label there, p − q is ε(e_y − 1/K), as if q were 1/K."""
        return self.sum_pp + self.p_label**2 > 0.5


class Lines(NamedTuple):
    """The line of each row, in the fields of :class:`ReadRows`."""

    label: Tensor
    others: Tensor
    factor: Tensor
    eps: Tensor
    doubt: Tensor
    mass: Tensor
    misfit: Tensor
    sum_gp: Tensor
    sum_g: Tensor
    sum_p: Tensor
    sum_pp: Tensor
    on_line: Tensor
    p_label: Tensor
    g_label: Tensor


def form_of(z: Tensor, g: Tensor) -> Form:
    """What outputs (R, K) are, told by themselves and by their gradients.

    Probabilities whose gradients sum to 0 went through one more softmax; the gradients of log p do not.
    """
    some, its = z[:64].double(), g[:64].double()
    if not bool(torch.isfinite(some).all()) or some.shape[1] < 2:
        return Form.LOGITS
    if float(some.min()) >= 0 and float((some.sum(1) - 1).abs().max()) < 1e-3:
        balanced = its.sum(1).abs().sum() <= 1e-2 * its.abs().sum()
        return Form.SOFTMAX_OF_PROBABILITIES if bool(balanced) else Form.PROBABILITIES
    if float(some.max()) <= 1e-6 and float(some.logsumexp(1).abs().max()) < 1e-3:
        return Form.LOG_PROBABILITIES
    return Form.LOGITS


def read_rows(z: Tensor, g: Tensor, *, max_rows: int | None = None) -> ReadRows:
    """Read logits and their gradients, both (R, K)."""
    if max_rows is None:
        max_rows = MAX_ROWS if z.shape[1] <= MANY else MAX_ROWS_OF_MANY
    rows = _read(z, g, form_of(z, g), max_rows)
    is_known = np.isfinite(rows.misfit)
    readable = rows.form is Form.LOGITS and not rows.coarse and 3 < rows.classes <= MANY
    if not readable or not is_known.any() or np.median(rows.misfit[is_known]) < 1e-4:
        return rows
    some = _spread_out(torch.from_numpy(np.flatnonzero(is_known)).to(z.device), 48)
    twice = _read(*_after_a_softmax(z[some], g[some]), Form.TWO_SOFTMAXES, max_rows)
    fits = twice.eps[np.isfinite(twice.eps) & (twice.misfit < 3e-6)]
    if 2 * len(fits) > len(some):
        low, high = np.percentile(fits, [10, 90])
        # A squared error of nearly equal probabilities looks alike, but as if its rows had no label.
        if high - low < 1e-2 and high < 0.9:
            return _read(*_after_a_softmax(z, g), Form.TWO_SOFTMAXES, max_rows)
    divisor = temperature_of(lambda t: _misfit(z[some].double() / t, g[some].double()))
    return rows if divisor is None else _at_temperature(z, g, divisor, max_rows)


def _at_temperature(z: Tensor, g: Tensor, divisor: float, max_rows: int) -> ReadRows:
    """Read logits that the loss divides, with the gradients by the quotients."""
    rows = _read(z.double() / divisor, g.double(), Form.LOGITS, max_rows)
    fields = ("factor", "sum_gp", "sum_g", "g_label")
    scaled: dict[str, Any] = {name: getattr(rows, name) * divisor for name in fields}
    return replace(rows, **scaled, divisor=divisor)


def temperature_of(misfit: Callable[[float], float]) -> float | None:
    """The temperature whose misfit is that of rounding; None where there is none, or where it is 1."""
    t = float(np.exp(minimise(lambda log_t: misfit(float(np.exp(log_t))), LOG_TEMPERATURES, steps=40)))
    short = float(f"{t:.3g}")
    t = short if abs(short - t) < 2e-4 * t else t
    before, after = misfit(1.0), misfit(t)
    return t if after < 3e-5 and after < before / 10 else None


def _after_a_softmax(z: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """p, and the gradient by p of a second softmax: g = p·(h − ⟨p, h⟩) gives h up to a number, and its sum is 0."""
    p = z.double().softmax(1)
    h = torch.nan_to_num(g.double() / p)
    return p, h - h.mean(1, keepdim=True)


def _misfit(z: Tensor, g: Tensor) -> float:
    """What lines leave of some rows, the median."""
    p = z.softmax(1)
    index = torch.arange(z.shape[1], device=z.device).expand(z.shape)
    return float(_lines(p, g, torch.ones_like(p), index, z.shape[1], 1e-7, max_others=0).misfit.median())


def _read(z: Tensor, g: Tensor, form: Form, max_rows: int) -> ReadRows:
    """Read logits as the loss has them."""
    rows, k = z.shape
    coarse = g.dtype in (torch.float16, torch.bfloat16) or z.dtype in (torch.float16, torch.bfloat16)
    lowest = _extreme(g, "argmin") if rows > max_rows or k > MANY else None
    if lowest is None:
        live = (g != 0).any(1)
        chosen = torch.arange(rows, device=z.device)
    else:
        live = g.gather(1, lowest[:, None])[:, 0] != 0
        chosen = _spread_out(live.nonzero()[:, 0], max_rows)
    size, device = max(1, AT_ONCE // k), z.device
    parts = [_part(z, g, form, chosen[at : at + size]) for at in range(0, len(chosen), size)]
    fields: dict[str, Any] = {}
    for name in (*Lines._fields, "unbalanced"):
        whole = torch.full((rows,), torch.nan, dtype=torch.float64, device=device)
        if name == "label":
            whole = torch.full((rows,), -1, device=device) if lowest is None else torch.where(live, lowest, -1)
        elif name == "others":
            whole = torch.zeros(rows, dtype=torch.int64, device=device)
        if parts:
            whole[chosen] = torch.cat([part[name] for part in parts])
        fields[name] = whole.cpu().numpy()
    spread = _read_levels(z, g, live, fields) if form is Form.LOGITS and k <= MAX_CLASSES else None
    alive = live.cpu().numpy()
    fields["label"] = np.where(alive, fields["label"], -1)
    fields["beside_p"] = _without_a_term_of_p(fields, alive, spread, coarse=coarse)
    finite = bool(torch.isfinite(g[chosen].sum()))
    return ReadRows(k, alive, **fields, spread=spread, coarse=coarse, finite=finite, form=form)


def _read_levels(z: Tensor, g: Tensor, live: Tensor, fields: dict[str, Array]) -> ClassSpread | None:
    """Where most rows lie on no line: the levels of the classes, if these explain the rows, in place of the fields."""
    at = live.cpu().numpy()
    misfit = fields["misfit"][at]
    misfit = misfit[np.isfinite(misfit)]
    if len(misfit) == 0 or np.median(misfit) < 3e-3:
        return None
    label = g[live].argmin(1)
    levels = class_levels(z[live].double().softmax(1), g[live], label)
    if levels is None:
        return None
    factor = levels.factor[label].cpu().numpy()
    known = {"label": label.cpu().numpy(), "others": 0, "factor": factor, "eps": levels.eps, "doubt": 1e-5, "mass": 1.0}
    for name, value in {**known, "misfit": levels.misfit}.items():
        fields[name][at] = value
    return levels.spread


def _without_a_term_of_p(fields: dict[str, Array], live: Array, spread: ClassSpread | None, *, coarse: bool) -> Array:
    """Take off what is in proportion to p beside a cross entropy, as a z-loss is: the slope is then c + t.

    A z-loss has t = 2·λ·lse, which differs between rows. Where t is below 0 and the same in all rows, a part of the
    loss does not normalise its logits: these drift, and no strength is their optimum.
    """
    close = 3e-2 if coarse else 3e-3
    mass, unbalanced = fields["mass"], fields["unbalanced"]
    with np.errstate(invalid="ignore"):
        tilted = (unbalanced > close) & (fields["misfit"] < close / 10)
        beside = tilted & (mass > 0.05) & (fields["others"] == 0) & (spread is None)
        t = 1 / mass[beside] - 1  # in parts of c
        beside &= not (len(t) > 1 and np.std(t) < -1e-3 * np.mean(t))
    fields["factor"][beside] *= mass[beside]
    fields["eps"][beside] /= mass[beside]
    fields["doubt"][beside] /= mass[beside]
    mass[beside], unbalanced[beside] = 1.0, 0.0
    with np.errstate(invalid="ignore"):
        nothing = (unbalanced > close) & (fields["misfit"] < close / 10) & (np.abs(mass) <= 0.05)
    live[nothing], fields["label"][nothing] = False, -1
    return beside


def _spread_out(rows: Tensor, most: int) -> Tensor:
    """As many of some rows, by steps of the golden ratio, which no period of the rows can follow."""
    if len(rows) <= most:
        return rows
    at = torch.arange(most, dtype=torch.float64) * (5**0.5 - 1) / 2 % 1
    return rows[(at * len(rows)).long().unique().to(rows.device)]


def _extreme(values: Tensor, which: Literal["argmin", "argmax"]) -> Tensor:
    """The class of the smallest or largest value of each row; numpy is four times as fast as torch on the CPU."""
    if values.device.type == "cpu" and values.dtype in (torch.float32, torch.float64):
        return torch.from_numpy(getattr(values.numpy(), which)(1))
    return getattr(values, which)(1)


def _part(z: Tensor, g: Tensor, form: Form, rows: Tensor) -> dict[str, Tensor]:
    """The lines of a few rows, and how far their gradients are from a sum of 0."""
    precision = max(torch.finfo(g.dtype).eps, torch.finfo(z.dtype).eps, 1e-7)
    z, g = (z, g) if len(rows) == len(z) else (z[rows], g[rows])
    p, slopes = _probabilities_and_gradients(z, g, form)
    k = z.shape[1]
    if k <= MANY:
        x, y, weight = p, slopes, torch.ones_like(p)
        index = torch.arange(k, device=z.device).expand(z.shape)
    else:
        index, weight = _some_columns(z, slopes)
        x, y = p.gather(1, index), slopes.gather(1, index)
    x, y = x.double(), y.double()
    total = slopes.sum(1, dtype=torch.float64 if k <= MANY else torch.float32).double()
    unbalanced = total.abs() / (2 * y.abs().amax(1)).clamp(min=1e-300)
    return {**_lines(x, y, weight, index, k, precision)._asdict(), "unbalanced": unbalanced}


def _probabilities_and_gradients(z: Tensor, g: Tensor, form: Form) -> tuple[Tensor, Tensor]:
    """P and ∂L/∂z of the softmax: in float64 for few classes, else in float32."""
    kind = torch.float64 if z.shape[1] <= MANY or z.dtype == torch.float64 else torch.float32
    z, g = z.to(kind), g.to(kind)
    if form is Form.PROBABILITIES:
        return z, z * (g - (z * g).sum(1, keepdim=True))
    if form is Form.LOG_PROBABILITIES:
        p = z.exp()
        return p, g - p * g.sum(1, keepdim=True)
    return z.softmax(1), g


def _some_columns(z: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """The classes that are read of each row where there are many, and 0 for each that stands there twice, else 1."""
    every = torch.linspace(0, z.shape[1] - 1, MANY // 2, device=z.device).long().expand(len(z), -1)
    extremes = (_extreme(g, "argmin"), _extreme(g, "argmax"), _extreme(z, "argmax"))
    index = torch.cat([every, *(each[:, None] for each in extremes)], 1).sort(1).values
    weight = torch.ones(index.shape, dtype=torch.float64, device=z.device)
    weight[:, 1:] = (index[:, 1:] != index[:, :-1]).double()
    return index, weight


def _lines(
    x: Tensor, y: Tensor, weight: Tensor, index: Tensor, k: int, precision: float, *, max_others: int = 2
) -> Lines:
    """The label, and the line through the other classes, of each row; up to two more classes may be off the line."""
    rows = torch.arange(len(x), device=x.device)
    at = _labels_of_few(x, y) if k <= 3 else _furthest(x, y, weight)[0]
    line = weight.clone()
    line[rows, at] = 0
    p_label, g_label = x[rows, at], y[rows, at]
    others = torch.zeros_like(at)
    extra_p, extra_g = torch.zeros_like(p_label), torch.zeros_like(p_label)
    for _ in range(min(max_others, 2 if k > 8 else 1 if k > 6 else 0)):
        next_at, left = _furthest(x, y, line)
        off = left > (3e-3 if precision < 1e-4 else 3e-2)
        line[rows[off], next_at[off]] = 0
        others += off
        extra_p += torch.where(off, x[rows, next_at], 0.0)
        extra_g += torch.where(off, y[rows, next_at], 0.0)
    n, mx, my, sxx, sxy = _moments(x, y, line)
    sum_pp = (line * x * x).sum(1)
    flat = sxx <= (8 * precision) ** 2 * sum_pp  # the probabilities differ by no more than rounding
    slope = torch.where(flat | (n < 2), torch.nan, sxy / sxx.clamp(min=1e-300))
    of_two = _lines_of_two(at, g_label != 0, (line * x).sum(1), (line * y).sum(1)) if k == 2 else None
    slope = slope if of_two is None else of_two[0]
    left = (line * (y - my[:, None] - torch.nan_to_num(slope)[:, None] * (x - mx[:, None])) ** 2).sum(1)
    size = (line * y.square()).sum(1)
    misfit = (left / size.clamp(min=1e-300)).sqrt() if of_two is None else of_two[1]
    by_chance = (others > 0) & (misfit > (3e-4 if precision < 1e-4 else 3e-2))
    misfit = torch.where(by_chance, 1.0, misfit)  # so few classes are left that they need better to lie on a line
    b = mx - my / slope
    noise = torch.maximum((left / (n - 2).clamp(min=1)).sqrt(), precision * (size / n.clamp(min=1)).sqrt())
    spread = (1 / n + (mx - b) ** 2 / sxx.clamp(min=1e-300)).sqrt() if k > 2 else 1 / n.sqrt()
    mass = (p_label - g_label / slope) + (extra_p - extra_g / slope) + (k - 1 - others) * b
    return Lines(
        index[rows, at], others, slope, k * b, k * noise / slope.abs() * spread, mass, misfit,
        (line * x * y).sum(1), (line * y).sum(1), (line * x).sum(1), sum_pp, n, p_label, g_label,
    )  # fmt: skip


def _moments(x: Tensor, y: Tensor, w: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The sum of the weights, the means, and the sums of squares and products about them."""
    n = w.sum(1)
    mx, my = (w * x).sum(1) / n, (w * y).sum(1) / n
    dx, dy = x - mx[:, None], y - my[:, None]
    return n, mx, my, (w * dx * dx).sum(1), (w * dx * dy).sum(1)


def _furthest(x: Tensor, y: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """The class without which a line fits best, and what the line leaves before, in parts of the gradients."""
    n, mx, my, sxx, sxy = _moments(x, y, w)
    sxx = sxx.clamp(min=1e-300)
    dx = x - mx[:, None]
    error = y - my[:, None] - (sxy / sxx)[:, None] * dx
    leverage = 1 / n[:, None] + dx * dx / sxx[:, None]
    gain = w * error.square() / (1 - leverage).clamp(min=1e-12)
    rises = sxy[:, None] - (n / (n - 1).clamp(min=1))[:, None] * dx * (y - my[:, None]) > 0
    gain = torch.where(rises | ~rises.any(1, keepdim=True), gain, -1.0)  # a sure row looks like another one upside down
    left = ((w * error.square()).sum(1) / (w * y.square()).sum(1).clamp(min=1e-300)).sqrt()
    return gain.argmax(1), left


def _labels_of_few(x: Tensor, y: Tensor) -> Tensor:
    """The labels of rows with two or three classes, of which one row says too little: one line is fitted for all."""
    at = y.argmin(1)
    rows = torch.arange(len(x), device=x.device)
    for _ in range(4):
        w = torch.ones_like(x)
        w[rows, at] = 0
        _, mx, my, sxx, sxy = _moments(x.reshape(1, -1), y.reshape(1, -1), w.reshape(1, -1))
        if float(sxx) <= 0:
            return at
        at = (y - my - (sxy / sxx) * (x - mx)).abs().argmax(1)
    return at


def _lines_of_two(at: Tensor, live: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Slope and misfit of the line that all rows of two classes share; of one for each label where it fits badly."""
    slope, misfit = torch.full_like(x, torch.nan), torch.zeros_like(x)
    for groups in ((live,), (live & (at == 0), live & (at == 1))):
        for rows in groups:
            if int(rows.sum()) < 2:
                continue
            dx, dy = x[rows] - x[rows].mean(), y[rows] - y[rows].mean()
            sxx = (dx * dx).sum()
            if float(sxx) <= 1e-12:
                continue
            shared = (dx * dy).sum() / sxx
            left = (dy - shared * dx).square().mean().sqrt() / y[rows].square().mean().sqrt().clamp(min=1e-300)
            slope[rows], misfit[rows] = shared, left
        if float(misfit.max()) < 3e-3:
            break
    return slope, misfit

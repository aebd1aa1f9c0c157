r"""The target of each row of a pass: for a row of a cross entropy ∂L/∂z_k = c·(p_k − q_k). All classes but the label
have one mass b, so that their gradients lie on a line: its slope is c, its zero is b, and the label is off it.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from enum import Enum
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from sfumato.probe.gradients import minimise
from sfumato.probe.levels import MAX_CLASSES, ClassSpread, class_levels

MANY = 512  # numbers of classes up to which all are read. Of more, half as many are read, and the extremes of each row
AT_ONCE = 1 << 22  # logits that are read at once, so that no second array of their size is made
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
    SIGMOIDS = "logits of sigmoids, each of two classes"


@dataclass(kw_only=True)
class Lines:
    """The line of each row; (R,) in float64 unless it says otherwise, tensors while parts of a pass are read."""

    label: Any  # int64, the class off the line; −1 where the row has no gradient
    others: Any  # int64, how many classes besides the label are off the line
    factor: Any  # c, the slope of the line; NaN where all classes have the same probability
    eps: Any  # K·b, the strength over all classes
    doubt: Any  # the standard error of eps
    mass: Any  # Σq
    misfit: Any  # what the line leaves, in parts of the gradients
    sum_gp: Any  # Σ g·p of the classes on the line, as are the next four
    sum_g: Any
    sum_p: Any
    sum_pp: Any
    on_line: Any  # how many they are
    p_label: Any
    g_label: Any
    unbalanced: Any = None  # Σ_k ∂L/∂z_k in parts of Σ_k |∂L/∂z_k|


@dataclass(kw_only=True)
class ReadRows(Lines):
    """What one pass says of its R rows."""

    classes: int  # K
    live: Array  # bool, whether the row has a gradient
    beside_p: Array  # bool, whether a term in proportion to p is beside the cross entropy
    spread: ClassSpread | None  # whether each class has a level of its own
    coarse: bool  # whether the gradients have the digits of half precision
    finite: bool
    form: Form
    divisor: float = 1.0  # what the loss divides the logits by

    def factors(self, eps: float) -> Array:
        """The factor c of each row, once the strength of all is known: g/(p − q) of the label, or of the other classes.

        Whichever loses less to rounding; rows with more than one class off the line keep the slope of their own line.
        """
        b = eps / self.classes
        a = 1 - (self.classes - 1) * b
        under = np.maximum(self._under(b), 0)
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
        under = np.sqrt(np.maximum(self._under(b), 1e-300))
        return 1e-7 * (np.sqrt(self.sum_pp) + b * np.sqrt(self.on_line)) / under

    def _under(self, b: float) -> Array:
        return self.sum_pp - 2 * b * self.sum_p + self.on_line * b * b

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


def form_of(z: Tensor, g: Tensor) -> Form:
    """What outputs (R, K) are: probabilities whose gradients sum to 0, say, went through one more softmax."""
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
    readable = rows.form is Form.LOGITS and not rows.coarse and rows.classes <= MANY
    if not readable or not is_known.any() or (np.median(rows.misfit[is_known]) < 2e-6 and _agree(rows)):
        return rows
    some = _spread_out(torch.from_numpy(np.flatnonzero(is_known)).to(z.device), 48)
    twice = _read(*_after_a_softmax(z[some], g[some]), Form.TWO_SOFTMAXES, max_rows)
    fits = twice.eps[np.isfinite(twice.eps) & (twice.misfit < 3e-6)]
    # A squared error of nearly equal probabilities looks alike, but as if its rows had no label.
    fits_most = 2 * len(fits) > len(some) and np.percentile(fits, 90) < min(np.percentile(fits, 10) + 1e-2, 0.9)
    if fits_most and (rows.classes > 3 or (len(some) > 3 and _agree(twice))):  # any row of three classes has a line
        return _read(*_after_a_softmax(z, g), Form.TWO_SOFTMAXES, max_rows)
    if rows.classes < 4:
        b = float(np.nanmedian(rows.eps[is_known]))
        exact = np.median(rows.misfit[is_known]) < 1e-5 + 10 * float(np.median(rows.rounding(b)[is_known]))
        rows.misfit[is_known] = np.where(exact and _agree(rows), rows.misfit[is_known], 1.0)
        return rows
    if np.median(rows.misfit[is_known]) < 1e-4:
        return rows

    def misfit(t: float) -> float:
        p = (z[some].double() / t).softmax(1)
        index = torch.arange(z.shape[1], device=z.device).expand(p.shape)
        lines = _lines(p, g[some].double(), torch.ones_like(p), index, z.shape[1], 1e-7, max_others=0)
        return float(lines.misfit.median())

    t = temperature_of(misfit)
    if t is None:
        return rows
    rows = _read(z.double() / t, g.double(), Form.LOGITS, max_rows)  # g is by the logits, and t·g by the quotients
    by_quotients = {name: getattr(rows, name) * t for name in ("factor", "sum_gp", "sum_g", "g_label")}
    return replace(rows, **by_quotients, divisor=t)


def _agree(rows: ReadRows) -> bool:
    """Whether the strengths of the rows that have a label differ by no more than rounding."""
    known = np.isfinite(rows.eps) & np.isfinite(rows.doubt) & (rows.eps < 0.98)
    if not known.any():
        return True
    low, high = np.percentile(rows.eps[known], [10, 90])
    return bool(high - low < 1e-6 + 20 * float(np.median(rows.doubt[known])))


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


def _read(z: Tensor, g: Tensor, form: Form, max_rows: int) -> ReadRows:
    """Read logits as the loss has them."""
    rows, k = z.shape
    coarse = g.dtype in (torch.float16, torch.bfloat16) or z.dtype in (torch.float16, torch.bfloat16)
    label = np.full(rows, -1)
    if rows > max_rows or k > MANY:
        lowest = _extreme(g, "argmin")
        live = g.gather(1, lowest[:, None])[:, 0] != 0
        chosen = _spread_out(live.nonzero()[:, 0], max_rows)
        label = lowest.cpu().numpy()
    else:
        live = (g != 0).any(1)
        chosen = torch.arange(rows, device=z.device)
    alive, at, size = live.cpu().numpy(), chosen.cpu().numpy(), max(1, AT_ONCE // k)
    parts = [_part(z, g, form, chosen[first : first + size]) for first in range(0, len(chosen), size)]
    unread = {"label": label, "others": np.zeros(rows, np.int64)}
    lines = Lines(**{each.name: unread.get(each.name, np.full(rows, np.nan)).copy() for each in fields(Lines)})
    for name, values in vars(lines).items():
        if parts:
            values[at] = torch.cat([getattr(part, name) for part in parts]).cpu().numpy()
    spread = _read_levels(z, g, live, lines) if form is Form.LOGITS and k <= MAX_CLASSES else None
    beside = _without_a_term_of_p(lines, alive, spread, coarse=coarse)
    lines.label = np.where(alive, lines.label, -1)
    finite = bool(torch.isfinite(g[chosen].sum()))
    return ReadRows(
        **vars(lines), classes=k, live=alive, beside_p=beside, spread=spread, coarse=coarse, finite=finite, form=form
    )


def _read_levels(z: Tensor, g: Tensor, live: Tensor, lines: Lines) -> ClassSpread | None:
    """Where most rows lie on no line: the levels of the classes, if these explain the rows, in place of the lines."""
    at = live.cpu().numpy()
    misfit = lines.misfit[at][np.isfinite(lines.misfit[at])]
    if len(misfit) == 0 or np.median(misfit) < 3e-3:
        return None
    label = g[live].argmin(1)
    levels = class_levels(z[live].double().softmax(1), g[live], label)
    if levels is None:
        return None
    lines.label[at], lines.others[at] = label.cpu().numpy(), 0
    lines.factor[at], lines.eps[at], lines.doubt[at] = levels.factor[lines.label[at]], levels.eps, 1e-5
    lines.mass[at], lines.misfit[at] = 1.0, levels.misfit
    return levels.spread


def _without_a_term_of_p(lines: Lines, live: Array, spread: ClassSpread | None, *, coarse: bool) -> Array:
    """Take off what is in proportion to p beside a cross entropy, as a z-loss is: the slope is then c + t.

    A z-loss has t = 2·λ·lse, which differs between rows. Where t is below 0 and the same in all rows, a part of the
    loss does not normalise its logits: these drift, and no strength is their optimum.
    """
    close, mass = (3e-2 if coarse else 3e-3), lines.mass
    with np.errstate(invalid="ignore"):
        tilted = (lines.unbalanced > close) & (lines.misfit < close / 10)
        beside = tilted & (mass > 0.05) & (lines.others == 0) & (spread is None)
        nothing = tilted & (np.abs(mass) <= 0.05)
    t = 1 / mass[beside] - 1  # in parts of c
    beside &= not (len(t) > 1 and np.std(t) < -1e-3 * np.mean(t))
    lines.factor[beside] *= mass[beside]
    lines.eps[beside] /= mass[beside]
    lines.doubt[beside] /= mass[beside]
    mass[beside], lines.unbalanced[beside] = 1.0, 0.0
    live[nothing] = False
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


def _part(z: Tensor, g: Tensor, form: Form, rows: Tensor) -> Lines:
    """The lines of a few rows, and how far their gradients are from a sum of 0."""
    precision = max(torch.finfo(g.dtype).eps, torch.finfo(z.dtype).eps, 1e-7)
    k = z.shape[1]
    z, g = (z, g) if len(rows) == len(z) else (z[rows], g[rows])
    kind = torch.float64 if k <= MANY or z.dtype == torch.float64 else torch.float32
    z, g = z.to(kind), g.to(kind)
    if form is Form.PROBABILITIES:
        p, g = z, z * (g - (z * g).sum(1, keepdim=True))
    elif form is Form.LOG_PROBABILITIES:
        p = z.exp()
        g = g - p * g.sum(1, keepdim=True)
    else:
        p = z.softmax(1)
    total = g.sum(1).double()
    index = torch.arange(k, device=z.device).expand(z.shape)
    weight = torch.ones(z.shape, dtype=torch.float64, device=z.device)
    if k > MANY:  # classes at even distances, and the extremes of each row; one that is there twice has no weight
        every = torch.linspace(0, k - 1, MANY // 2, device=z.device).long().expand(len(z), -1)
        extremes = (_extreme(g, "argmin"), _extreme(g, "argmax"), _extreme(z, "argmax"))
        index = torch.cat([every, *(each[:, None] for each in extremes)], 1).sort(1).values
        weight = torch.ones(index.shape, dtype=torch.float64, device=z.device)
        weight[:, 1:] = (index[:, 1:] != index[:, :-1]).double()
        p, g = p.gather(1, index), g.gather(1, index)
    lines = _lines(p.double(), g.double(), weight, index, k, precision)
    lines.unbalanced = total.abs() / (2 * g.double().abs().amax(1)).clamp(min=1e-300)
    return lines


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
    sum_p, sum_g, sum_pp = (line * x).sum(1), (line * y).sum(1), (line * x * x).sum(1)
    flat = sxx <= (8 * precision) ** 2 * sum_pp  # the probabilities differ by no more than rounding
    slope = torch.where(flat | (n < 2), torch.nan, sxy / sxx.clamp(min=1e-300))
    of_two = _lines_of_two(at, g_label != 0, sum_p, sum_g) if k == 2 else None
    slope = slope if of_two is None else of_two[0]
    left = (line * (y - my[:, None] - torch.nan_to_num(slope)[:, None] * (x - mx[:, None])) ** 2).sum(1)
    size = (line * y.square()).sum(1)
    misfit = (left / size.clamp(min=1e-300)).sqrt() if of_two is None else of_two[1]
    by_chance = (others > 0) & (misfit > (3e-4 if precision < 1e-4 else 3e-2))
    misfit = torch.where(by_chance, 1.0, misfit)  # so few classes are left that they need better to lie on a line
    b = mx - my / slope
    noise = torch.maximum((left / (n - 2).clamp(min=1)).sqrt(), precision * (size / n.clamp(min=1)).sqrt())
    spread = (1 / n + (mx - b) ** 2 / sxx.clamp(min=1e-300)).sqrt() if k > 2 else 1 / n.sqrt()
    return Lines(
        label=index[rows, at], others=others, factor=slope, eps=k * b, doubt=k * noise / slope.abs() * spread,
        mass=(p_label - g_label / slope) + (extra_p - extra_g / slope) + (k - 1 - others) * b, misfit=misfit,
        sum_gp=(line * x * y).sum(1), sum_g=sum_g, sum_p=sum_p, sum_pp=sum_pp, on_line=n, p_label=p_label,
        g_label=g_label,
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
            dx, dy = x[rows] - x[rows].mean(), y[rows] - y[rows].mean()
            sxx = (dx * dx).sum()
            if int(rows.sum()) < 2 or float(sxx) <= 1e-12:
                continue
            slope[rows] = shared = (dx * dy).sum() / sxx
            left = (dy - shared * dx).square().mean().sqrt()
            misfit[rows] = left / y[rows].square().mean().sqrt().clamp(min=1e-300)
        if float(misfit.max()) < 3e-3:
            break
    return slope, misfit

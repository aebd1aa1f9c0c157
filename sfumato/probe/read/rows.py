r"""Read every row of a pass: its label, its strength, and the factor that its gradient was multiplied by.

For a row of a cross entropy ∂L/∂z_k = c·(p_k − q_k). All classes but the label have the same mass q_k = b, so their
gradients lie on the line c·p_k − c·b: its slope is the row's factor and its zero is b. The label is the class that is
off that line. A few hundred classes are enough for the line, so that a large vocabulary costs one log-sum-exp.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from sfumato.probe.read.levels import MOST_CLASSES, class_levels
from sfumato.probe.watching.temperature import temperature_of

MANY = 512
"""Numbers of classes up to which all are read. Of more, half as many are read, and the extremes of each row."""

AT_ONCE = 1 << 22
"""Logits that are read at once, so that no second array of their size is made."""

TWICE = "logits of two softmaxes"

MOST_ROWS, MOST_ROWS_OF_MANY = 4096, 128
"""Rows of one pass that are read, of up to :data:`MANY` classes and of more. Of every other row only the label is read,
by the smallest gradient."""

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class ReadRows:
    """What one pass says of its R rows; each field is (R,) in float64 unless it says otherwise."""

    classes: int  # K
    live: Array  # bool, whether the row has a gradient
    label: Array  # int64, the class off the line; −1 where the row has no gradient
    others: Array  # how many classes besides the label are off the line, int64; one of :data:`LEVELS`
    factor: Array  # c, the slope of the line; NaN where all classes have the same probability
    eps: Array  # K·b, the strength over all classes
    doubt: Array  # the standard error of eps
    mass: Array  # Σq
    misfit: Array  # what the line leaves, in parts of the gradients
    unbalanced: Array  # Σ_k ∂L/∂z_k in parts of Σ_k |∂L/∂z_k|
    sums: Array  # (R, 6), from which the factor follows once b is known: ⟨g, p⟩, Σ g and Σ p of the classes on the line
    squares: Array
    coarse: bool  # whether the gradients have the digits of half precision
    finite: bool  # whether every gradient is finite
    form: str  # what the model's outputs are: "logits", "logits that the loss divides by 2", "log-probabilities"

    def factors(self, eps: float) -> Array:
        """The factor c of each row, once the strength of all is known."""
        b = eps / self.classes
        a = 1 - (self.classes - 1) * b
        gp, g, p, n, p_label, g_label = self.sums.T
        under = np.maximum(self.squares - 2 * b * p + n * b * b, 0)
        with np.errstate(all="ignore"):
            of_label, of_others = g_label / (p_label - a), (gp - b * g) / under
            lost_by_label = (p_label + a) / np.abs(p_label - a)
            lost_by_others = (np.sqrt(self.squares) + b * np.sqrt(n)) / np.sqrt(under)
            known = np.where(lost_by_label <= lost_by_others, of_label, of_others)
        return np.where((self.others != 0) | ~np.isfinite(known), self.factor, known)

    def rounding(self, eps: float) -> Array:
        """What float32 loses of p − q on the line, as a part of it."""
        b = eps / self.classes
        under = np.maximum(self.squares - 2 * b * self.sums[:, 2] + self.sums[:, 3] * b * b, 1e-300)
        return 1e-7 * (np.sqrt(self.squares) + b * np.sqrt(self.sums[:, 3])) / np.sqrt(under)

    @property
    def mass_beside(self) -> Array:
        """The mass of the classes off the line beside the label: a share in mixup, below 0 where a term pushes down."""
        with np.errstate(all="ignore"):
            own = self.sums[:, 4] - self.sums[:, 5] / self.factor
        return self.mass - own - (self.classes - 1 - self.others) * self.eps / self.classes

    @property
    def is_sure(self) -> Array:
        """Rows that are sure of a class. With the label there, p − q is ε(e_y − 1/K), as if q were 1/K."""
        return self.squares + self.sums[:, 4] ** 2 > 0.5


def form_of(z: Tensor, g: Tensor) -> str:
    """What outputs (R, K) are, told by themselves and by their gradients."""
    some, its = z[:64].double(), g[:64].double()
    if not bool(torch.isfinite(some).all()) or some.shape[1] < 2:
        return "logits"
    if float(some.min()) >= 0 and float((some.sum(1) - 1).abs().max()) < 1e-3:
        balanced = its.sum(1).abs().sum() <= 1e-2 * its.abs().sum()
        return "probabilities as logits" if bool(balanced) else "probabilities"
    if float(some.max()) <= 1e-6 and float(some.logsumexp(1).abs().max()) < 1e-3:
        return "log-probabilities"
    return "logits"


def read_rows(z: Tensor, g: Tensor) -> ReadRows:
    """Read logits and their gradients, both (R, K)."""
    found = _read(z, g, form_of(z, g))
    bad = found.misfit[np.isfinite(found.misfit)]
    if (
        found.form != "logits"
        or found.coarse
        or not 3 < found.classes <= MANY
        or len(bad) == 0
        or np.median(bad) < 1e-4
    ):
        return found
    some = _spread_out(torch.from_numpy(np.flatnonzero(np.isfinite(found.misfit))).to(z.device), 48)
    twice = _read(*_after_a_softmax(z[some], g[some]), TWICE)
    fits = twice.eps[np.isfinite(twice.eps) & (twice.misfit < 3e-6)]
    if 2 * len(fits) > len(some):
        low, high = np.percentile(fits, [10, 90])
        # A squared error of nearly equal probabilities looks alike, but as if its rows had no label.
        if high - low < 1e-2 and high < 0.9:
            return _read(*_after_a_softmax(z, g), TWICE)
    divisor = temperature_of(lambda t: _misfit(z[some].double() / t, g[some].double()))
    return found if divisor is None else _read(z.double() / divisor, g.double(), "logits", divisor)


def _after_a_softmax(z: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """p, and the gradient by p of a second softmax: g = p·(h − ⟨p, h⟩) gives h up to a number, and its sum is 0."""
    p = z.double().softmax(1)
    h = torch.nan_to_num(g.double() / p)
    return p, h - h.mean(1, keepdim=True)


def _misfit(z: Tensor, g: Tensor) -> float:
    """What lines leave of some rows, the median."""
    p = z.softmax(1)
    index = torch.arange(z.shape[1], device=z.device).expand(z.shape)
    return float(_lines(p, g, torch.ones_like(p), index, z.shape[1], 1e-7, most_others=0)[6].median())


def _read(z: Tensor, g: Tensor, form: str, divisor: float = 1.0) -> ReadRows:
    """Read logits as the loss has them, which divided those of the model."""
    rows, k = z.shape
    coarse = g.dtype in (torch.float16, torch.bfloat16) or z.dtype in (torch.float16, torch.bfloat16)
    most = MOST_ROWS if k <= MANY else MOST_ROWS_OF_MANY
    lowest = _extreme(g, "argmin") if rows > most or k > MANY else None
    if lowest is None:
        live = (g != 0).any(1)
        chosen = torch.arange(rows, device=z.device)
    else:
        live = g.gather(1, lowest[:, None])[:, 0] != 0
        chosen = _spread_out(live.nonzero()[:, 0], most)
    size, of = max(1, AT_ONCE // k), z.device
    parts = [_part(z, g, form, chosen[at : at + size]) for at in range(0, len(chosen), size)]
    label = torch.full((rows,), -1, device=of) if lowest is None else torch.where(live, lowest, -1)
    found: list[Array] = []
    for i, empty in enumerate((label, torch.zeros(rows, dtype=torch.int64, device=of), *[None] * 8)):
        shape = (rows, 6) if i == SUMS else (rows,)
        whole = torch.full(shape, torch.nan, dtype=torch.float64, device=of) if empty is None else empty
        if parts:
            whole[chosen] = torch.cat([part[i] for part in parts])
        found.append(whole.cpu().numpy())
    if form == "logits" and k <= MOST_CLASSES:
        _read_levels(z, g, live, found)
    alive = live.cpu().numpy()
    found[0] = np.where(alive, found[0], -1)
    _without_a_term_of_p(found, alive, coarse=coarse)
    found[2], found[SUMS][:, 1], found[SUMS][:, 5] = (each * divisor for each in (found[2], *found[SUMS][:, [1, 5]].T))
    found[SUMS][:, 0] *= divisor
    form = form if divisor == 1 else f"logits that the loss divides by {divisor:.4g}"
    finite = bool(torch.isfinite(g[chosen].sum()))
    return ReadRows(k, alive, *found, coarse=coarse, finite=finite, form=form)


def _read_levels(z: Tensor, g: Tensor, live: Tensor, found: list[Array]) -> None:
    """Where most rows lie on no line: the levels of the classes, if these explain the rows, in place of the fields."""
    misfit = found[6][live.cpu().numpy()]
    misfit = misfit[np.isfinite(misfit)]
    if len(misfit) == 0 or np.median(misfit) < 3e-3:
        return
    label = g[live].argmin(1)
    levels = class_levels(z[live].double().softmax(1), g[live], label)
    if levels is None:
        return
    at = live.cpu().numpy()
    told = levels.factor[label].cpu().numpy()
    values = (label.cpu().numpy(), LEVELS[levels.kind], told, levels.eps, 1e-5, 1.0, levels.misfit)
    for field, value in zip(found, values, strict=False):
        field[at] = value


def _without_a_term_of_p(found: list[Array], live: Array, *, coarse: bool) -> None:
    """Take off what is in proportion to p beside a cross entropy, as a z-loss is: the slope is then c + t."""
    close = 3e-2 if coarse else 3e-3
    others, factor, eps, mass, misfit, unbalanced = (found[i] for i in (1, 2, 3, 5, 6, 7))
    with np.errstate(invalid="ignore"):
        beside = (unbalanced > close) & (misfit < close / 10) & (mass > 0.05) & (others == 0)
        t = 1 / mass[beside] - 1  # in parts of c
        beside &= not (len(t) > 1 and np.std(t) < -1e-3 * np.mean(t))
    factor[beside] *= mass[beside]
    eps[beside] /= mass[beside]
    found[4][beside] /= mass[beside]
    mass[beside], others[beside], unbalanced[beside] = 1.0, LEVELS["beside"], 0.0
    with np.errstate(invalid="ignore"):
        nothing = (unbalanced > close) & (misfit < close / 10) & (np.abs(mass) <= 0.05)
    live[nothing], found[0][nothing] = False, -1


LEVELS = {"weights": -1, "prior": -2, "beside": -3}
"""What stands in place of the number of other labels where each class has a level of its own, or where a term in
proportion to p stands beside the cross entropy."""

SUMS = 8
"""Where the sums stand among the fields that :func:`_part` gives."""


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


def _part(z: Tensor, g: Tensor, form: str, rows: Tensor) -> tuple[Tensor, ...]:
    """The fields of :class:`ReadRows` for a few rows, from the label on."""
    precision = max(torch.finfo(g.dtype).eps, torch.finfo(z.dtype).eps, 1e-7)
    whole = len(rows) == len(z)
    z, g = (z, g) if whole else (z[rows], g[rows])
    p, slopes = _probabilities_and_gradients(z, g, form)
    index, weight = _columns(z, slopes)
    x, y = (p, slopes) if len(index) == 0 else (p.gather(1, index), slopes.gather(1, index))
    if len(index) == 0:
        index, weight = torch.arange(z.shape[1], device=z.device).expand(z.shape), torch.ones_like(x)
    x, y = x.double(), y.double()
    total = slopes.sum(1, dtype=torch.float64 if z.shape[1] <= MANY else torch.float32).double()
    unbalanced = total.abs() / (2 * y.abs().amax(1)).clamp(min=1e-300)
    label, *found, squares = _lines(x, y, weight, index, z.shape[1], precision)
    return (label, *found[:6], unbalanced, found[6], squares)


def _probabilities_and_gradients(z: Tensor, g: Tensor, form: str) -> tuple[Tensor, Tensor]:
    """P and ∂L/∂z of the softmax: in float64 for few classes, else in float32."""
    kind = torch.float64 if z.shape[1] <= MANY or z.dtype == torch.float64 else torch.float32
    z, g = z.to(kind), g.to(kind)
    if form == "probabilities":
        return z, z * (g - (z * g).sum(1, keepdim=True))
    if form == "log-probabilities":
        p = z.exp()
        return p, g - p * g.sum(1, keepdim=True)
    return z.softmax(1), g


def _columns(z: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """The classes that are read of each row, and 0 for each that stands there twice; nothing where all are read."""
    rows, k = z.shape
    if k <= MANY:
        return torch.empty(0), torch.empty(0)
    every = torch.linspace(0, k - 1, MANY // 2, device=z.device).long().expand(rows, -1)
    extremes = (_extreme(g, "argmin"), _extreme(g, "argmax"), _extreme(z, "argmax"))
    index = torch.cat([every, *(each[:, None] for each in extremes)], 1).sort(1).values
    weight = torch.ones(index.shape, dtype=torch.float64, device=z.device)
    weight[:, 1:] = (index[:, 1:] != index[:, :-1]).double()
    return index, weight


def _lines(
    x: Tensor, y: Tensor, weight: Tensor, index: Tensor, k: int, precision: float, *, most_others: int = 2
) -> tuple[Tensor, ...]:
    """The label, and the line through the other classes, of each row; up to two more classes may be off the line."""
    rows = torch.arange(len(x), device=x.device)
    at = _labels_of_few(x, y) if k <= 3 else _furthest(x, y, weight)[0]
    line = weight.clone()
    line[rows, at] = 0
    a_x, a_y = x[rows, at], y[rows, at]
    others = torch.zeros_like(at)
    extra_p, extra_g = torch.zeros_like(a_x), torch.zeros_like(a_x)
    for _ in range(min(most_others, 2 if k > 8 else 1 if k > 6 else 0)):
        next_at, left, _ = _furthest(x, y, line)
        off = left > (3e-3 if precision < 1e-4 else 3e-2)
        line[rows[off], next_at[off]] = 0
        others += off
        extra_p += torch.where(off, x[rows, next_at], 0.0)
        extra_g += torch.where(off, y[rows, next_at], 0.0)
    n, (mx, my), (sxx, sxy) = _moments(x, y, line)
    slope = _slope(sxx, sxy, n, x, line, precision)
    of_two = _lines_of_two(at, a_y != 0, (line * x).sum(1), (line * y).sum(1)) if k == 2 else None
    slope = slope if of_two is None else of_two[0]
    left = (line * (y - my[:, None] - torch.nan_to_num(slope)[:, None] * (x - mx[:, None])) ** 2).sum(1)
    size = (line * y.square()).sum(1)
    misfit = (left / size.clamp(min=1e-300)).sqrt() if of_two is None else of_two[1]
    by_chance = (others > 0) & (misfit > (3e-4 if precision < 1e-4 else 3e-2))
    misfit = torch.where(by_chance, 1.0, misfit)  # so few classes are left that they need better to lie on a line
    b = mx - my / slope
    noise = torch.maximum((left / (n - 2).clamp(min=1)).sqrt(), precision * (size / n.clamp(min=1)).sqrt())
    spread = (1 / n + (mx - b) ** 2 / sxx.clamp(min=1e-300)).sqrt() if k > 2 else 1 / n.sqrt()
    doubt = k * noise / slope.abs() * spread
    mass = (a_x - a_y / slope) + (extra_p - extra_g / slope) + (k - 1 - others) * b
    sums = torch.stack([(line * x * y).sum(1), (line * y).sum(1), (line * x).sum(1), n, a_x, a_y], 1)
    label = index[rows, at]
    return label, others, slope, k * b, doubt, mass, misfit, sums, (line * x * x).sum(1)


def _moments(x: Tensor, y: Tensor, w: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    n = w.sum(1)
    mx, my = (w * x).sum(1) / n, (w * y).sum(1) / n
    dx, dy = x - mx[:, None], y - my[:, None]
    return n, (mx, my), ((w * dx * dx).sum(1), (w * dx * dy).sum(1))


def _slope(sxx: Tensor, sxy: Tensor, n: Tensor, x: Tensor, line: Tensor, precision: float) -> Tensor:
    """The slope; NaN where the probabilities differ by no more than rounding."""
    flat = sxx <= (8 * precision) ** 2 * (line * x * x).sum(1)
    return torch.where(flat | (n < 2), torch.nan, sxy / sxx.clamp(min=1e-300))


def _furthest(x: Tensor, y: Tensor, w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The class without which a line fits best, and what the line leaves before, in parts of the gradients."""
    n, (mx, my), (sxx, sxy) = _moments(x, y, w)
    sxx = sxx.clamp(min=1e-300)
    dx = x - mx[:, None]
    error = y - my[:, None] - (sxy / sxx)[:, None] * dx
    leverage = 1 / n[:, None] + dx * dx / sxx[:, None]
    gain = w * error.square() / (1 - leverage).clamp(min=1e-12)
    rises = sxy[:, None] - (n / (n - 1).clamp(min=1))[:, None] * dx * (y - my[:, None]) > 0
    gain = torch.where(rises | ~rises.any(1, keepdim=True), gain, -1.0)  # a sure row looks like another one upside down
    left = ((w * error.square()).sum(1) / (w * y.square()).sum(1).clamp(min=1e-300)).sqrt()
    return gain.argmax(1), left, gain


def _labels_of_few(x: Tensor, y: Tensor) -> Tensor:
    """The labels of rows with two or three classes, of which one row says too little: one line is fitted for all."""
    at = y.argmin(1)
    rows = torch.arange(len(x), device=x.device)
    for _ in range(4):
        w = torch.ones_like(x)
        w[rows, at] = 0
        _, (mx, my), (sxx, sxy) = _moments(x.reshape(1, -1), y.reshape(1, -1), w.reshape(1, -1))
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
            of_rows = (dx * dy).sum() / sxx
            left = (dy - of_rows * dx).square().mean().sqrt() / y[rows].square().mean().sqrt().clamp(min=1e-300)
            slope[rows], misfit[rows] = of_rows, left
        if float(misfit.max()) < 3e-3:
            break
    return slope, misfit

"""Cases of the table of targets, and logits for them, as hypothesis draws them."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from numpy import ndarray

from tests.targets.registry import TARGETS, Case, drawn_arrays


@st.composite
def positions(draw, batched: bool = False) -> tuple[int, ...]:
    """(): one position; (n,): rows; (n, d…): rows with trailing axes."""
    shapes = [(1,), (3,), (4,), (2, 3), (2, 1, 2)]
    return draw(st.sampled_from(shapes if batched else [(), *shapes]))


@st.composite
def cases(draw, name: str, *, batched: bool = False, least_classes: int = 2, ignored: bool = True) -> Case:
    """A target of one constructor."""
    shape = draw(positions(batched))
    k = draw(st.integers(least_classes, 6))
    labels = draw(drawn_arrays(shape, st.integers(0, k - 1)))
    if ignored and draw(st.booleans()):
        labels = np.where(draw(drawn_arrays(shape, st.booleans())), -1, labels)
    return Case(name, k, labels, TARGETS[name].draw(draw, labels, k))


@st.composite
def logits(draw, case: Case, largest: float = 1e4) -> ndarray:
    """(P…, K) float64; small, large, equal and far apart."""
    near = st.floats(-8, 8)
    far = st.floats(-largest, largest) if largest > 8 else near
    elements = draw(st.sampled_from([near, st.one_of(near, far), st.sampled_from([0.0, 1.0, -40.0])]))
    return draw(drawn_arrays((*case.labels.shape, case.num_classes), elements)).astype(float)

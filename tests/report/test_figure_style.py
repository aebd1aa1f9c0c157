"""The inks of the figures, as people see them: with all cones, without one kind, in both schemes."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest

from sfumato.report import figure_style

# Machado, Oliveira and Fernandes 2009, severity 1: linear RGB as seen without long, middle or short cones.
SEEN = {
    "all cones": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
CSS = (Path(figure_style.__file__).parent / "page.css").read_text(encoding="utf-8")


def lab(hexadecimal, seen):
    srgb = np.array([int(hexadecimal[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    xyz = TO_XYZ @ np.clip(np.array(seen) @ linear, 0, 1) / (0.9505, 1.0, 1.089)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def schemes():
    return [[re.findall(rf"--arm-{i}: (#[0-9a-f]{{6}})", CSS)[which] for i in range(5)] for which in (0, 1)]


@pytest.mark.parametrize("seen", SEEN)
@pytest.mark.parametrize("inks", schemes(), ids=["light", "dark"])
def test_the_inks_of_five_arms_keep_apart(inks, seen):
    distances = [np.linalg.norm(lab(a, SEEN[seen]) - lab(b, SEEN[seen])) for a, b in itertools.combinations(inks, 2)]
    assert min(distances) > 20


def test_the_style_sheet_and_the_figures_have_the_same_inks():
    assert tuple(schemes()[0]) == figure_style.ARM_COLOURS
    assert len(set(figure_style.MARKS)) == len(figure_style.ARM_COLOURS)

"""Made-up models of two arms, as a judgement is given them."""

import numpy as np

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 4, 600)
VALIDATION = RNG.integers(0, 4, 300)
SHARED, SHARED_VALIDATION = RNG.normal(size=(600, 4)), RNG.normal(size=(300, 4))


def model(seed, strength=2.0, scale=1.0, validation=False, **more):
    """A made-up model: its logits share most of their noise with those of others."""
    rng = np.random.default_rng([seed, 7])
    z = scale * (strength * np.eye(4)[LABELS] + SHARED + 0.4 * rng.normal(size=(600, 4)))
    made = {"logits": z, "labels": LABELS, **more}
    if validation:
        v = scale * (strength * np.eye(4)[VALIDATION] + SHARED_VALIDATION + 0.4 * rng.normal(size=(300, 4)))
        made |= {"val_logits": v, "val_labels": VALIDATION}
    return made


def arms(validation=False, seeds=4, better=2.6, **more):
    return {
        "one-hot": [model(seed, validation=validation, **more) for seed in range(seeds)],
        "smoothed": [model(seed + 100, better, 0.5, validation=validation, **more) for seed in range(seeds)],
    }


def write(folder, **models):
    """One file an arm, named after it."""
    for name, m in models.items():
        (folder / name).mkdir()
        np.savez(folder / name / "0.npz", **m)
    return folder


def changed(m, **more):
    return {**m, **more}

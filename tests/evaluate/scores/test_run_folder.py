"""Which saved logits of a comparison are read: the arm of the verdict first, and every seed of every arm."""

import json

import pytest

from sfumato.evaluate.scores.read_scores import FileError, first_of_run, seeds_of_run


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "logits").mkdir()
    for name in ("b-seed3", "b-seed12", "a-seed3", "a-seed12", "c-seed7-seed3"):
        for part in ("train", "validation", "test"):
            (tmp_path / "logits" / f"{name}-{part}.npz").touch()
    return tmp_path


def test_every_seed_of_every_arm_has_its_test_rows(folder):
    names = {arm: {seed: path.name for seed, path in seeds.items()} for arm, seeds in seeds_of_run(folder).items()}
    assert names == {
        "a": {3: "a-seed3-test.npz", 12: "a-seed12-test.npz"},
        "b": {3: "b-seed3-test.npz", 12: "b-seed12-test.npz"},
        "c-seed7": {3: "c-seed7-seed3-test.npz"},
    }


@pytest.mark.parametrize(("choice", "first"), [("b", "b-seed3"), ("depends", "a-seed3"), (None, "a-seed3")])
def test_the_first_seed_of_the_arm_that_the_verdict_chose_is_audited(folder, choice, first):
    (folder / "summary.json").write_text(json.dumps({"verdict": {"choice": choice}}))
    path, (note,) = first_of_run(folder)
    assert path.name == f"{first}-test.npz"
    assert note["text"].startswith(
        f"Of the run, the arm {first[0]} on test rows was read ({first}-test.npz); name a file of its"
    )


def test_a_folder_without_a_summary_is_read_by_name(folder):
    assert first_of_run(folder)[0].name == "a-seed3-test.npz"


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(FileError, match="is not the folder of a comparison: it has no logits"):
        seeds_of_run(tmp_path)

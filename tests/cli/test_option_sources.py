"""Where options come from: a flag before the environment, the environment before a file, and words that are refused."""

from __future__ import annotations

import shlex

import pytest

from sfumato.cli import main
from sfumato.lab.errors import Stopped


@pytest.fixture(autouse=True)
def away(tmp_path, monkeypatch):
    """An empty folder, and no option in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SFUMATO_CONFIG", raising=False)


@pytest.fixture
def asked(monkeypatch):
    """What a comparison would be asked for: options, where each came from, and the command to repeat it."""
    seen = {}

    def compare(options, *, sources, command, watcher):
        seen.update(options=options, sources=dict(sources), command=command)
        raise Stopped("asked")

    monkeypatch.setattr("sfumato.lab.compare.compare", compare)

    def asked(*words):
        seen.clear()
        main(["compare", "-q", *words])
        return seen

    return asked


@pytest.mark.parametrize("words", ["-c my.toml", "-c=my.toml", "-cmy.toml", "--config my.toml", "--config=my.toml"])
def test_the_file_is_read_in_whichever_form_it_is_named(asked, tmp_path, words):
    (tmp_path / "my.toml").write_text('data = "digits"\nepochs = 3\n')
    seen = asked(*words.split())
    assert (seen["options"].epochs, seen["sources"]["epochs"]) == (3, "my.toml")


def test_a_flag_goes_before_the_environment_and_that_before_a_file(asked, tmp_path, monkeypatch):
    (tmp_path / "my.toml").write_text('data = "digits"\neps = 0.3\nseeds = 7\nepochs = 9\nlearning-rate = 0.5\n')
    monkeypatch.setenv("SFUMATO_EPS", "0.2")
    monkeypatch.setenv("SFUMATO_SEEDS", "8")
    seen = asked("-c", "my.toml", "--eps", "0.4")
    options = seen["options"]
    assert (options.data, options.eps, options.seeds, options.epochs, options.learning_rate) == (
        "digits",
        0.4,
        8,
        9,
        0.5,
    )
    assert options.batch_size == type(options)("digits").batch_size
    sources = {name: seen["sources"].get(name) for name in ("eps", "seeds", "epochs", "data", "learning_rate", "over")}
    assert sources == {
        "eps": "command line", "seeds": "environment", "epochs": "my.toml", "data": "my.toml",
        "learning_rate": "my.toml", "over": None,
    }  # fmt: skip


def test_a_file_may_be_named_in_the_environment(asked, tmp_path, monkeypatch):
    (tmp_path / "my.toml").write_text('data = "digits"\nepochs = 9\n')
    monkeypatch.setenv("SFUMATO_CONFIG", "my.toml")
    assert asked()["options"].epochs == 9
    (tmp_path / "other.toml").write_text('data = "digits"\nepochs = 8\n')
    assert asked("-c", "other.toml")["options"].epochs == 8


def test_sources_of_one_command_are_not_those_of_the_next(asked):
    assert "eps" in asked("digits", "--eps", "0.2")["sources"]
    assert "eps" not in asked("digits")["sources"]


def said(capsys, *words):
    code = main(["compare", *words])
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert err.startswith("sfumato: ")
    assert err.count("\n") == 1
    return err.removeprefix("sfumato: ").rstrip("\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("epoch = 3", 'my.toml has an unknown key "epoch". Did you mean "epochs"? Keys: data, label, '),
        ("learning_rat = 3", 'my.toml has an unknown key "learning_rat". Did you mean "learning-rate"?'),
        ('resume = "runs/x"', 'my.toml has an unknown key "resume".'),
        (
            "[compare]\neps = 0.1",
            'my.toml has an unknown key "compare". Options stand at the top of the file, without a line [compare].',
        ),
        ("eps = [0.1, 0.2]", 'my.toml: "eps" must be one value, not a table or a list'),
        ('arm = ["onehot", "all:0.1"]', 'my.toml: "arm" must be one value, not a table or a list; '
         'write arm = "onehot,all:0.1"'),
        ("[eps]\nx = 0.1", 'my.toml: "eps" must be one value, not a table or a list'),
        ("eps = ", "my.toml is not TOML: "),
        ("a = " + 5000 * "[", "my.toml is not TOML: "),
        ("seeds = " + 5000 * "1", "my.toml is not TOML: "),
        ('eps = "half"', 'Invalid value for [eps]: "half" is not a number (in my.toml)'),
        (b"eps = '\xff'", "my.toml cannot be read: it is not UTF-8 text; save it as UTF-8"),
        (b"\xef\xbb\xbfeps = 0.1", "my.toml is not TOML: it begins with a byte order mark; save it as UTF-8"),
        ("#" * (2**20 + 1), "my.toml is longer than 1,048,576 bytes, too long for a file of options"),
    ],
)  # fmt: skip
def test_a_file_that_means_nothing_is_refused(content, message, capsys, tmp_path):
    (tmp_path / "my.toml").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert said(capsys, "digits", "-c", "my.toml").startswith(message)


def test_a_file_that_is_not_there_is_named(capsys, tmp_path):
    assert said(capsys, "digits", "-c", "no.toml") == 'no file "no.toml"'
    (tmp_path / "folder").mkdir()
    assert said(capsys, "digits", "-c", "folder").startswith("folder cannot be read: ")


def test_what_stands_behind_two_dashes_is_no_option(asked, tmp_path):
    assert asked("--eps", "0.2", "--", "--eps")["options"].data == "--eps"
    assert asked("--", "-c")["options"].data == "-c"


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (["digits", "--out", "runs/x", "--eps", "0.2"], ["digits", "--eps", "0.2"]),
        (["--out=runs/x", "digits"], ["digits"]),
        (["digits", "--eps=0.2", "--label", "a b"], ["digits", "--eps=0.2", "--label", "a b"]),
    ],
)
def test_the_command_to_repeat_leaves_out_the_name_of_the_run(words, kept, asked):
    assert shlex.split(asked(*words)["command"]) == ["sfumato", "compare", "-q", *kept]


@pytest.mark.parametrize(
    ("more", "what"),
    [(["digits"], "DATA"), (["--eps", "0.2"], "--eps"), (["digits", "--batch-size", "8"], "--batch-size"),
     (["--learning-rate", "0.1", "digits"], "--learning-rate")],
)  # fmt: skip
def test_resume_takes_everything_from_the_run(more, what, capsys):
    assert said(capsys, "--resume", "runs/x", *more) == f"--resume takes everything from the run; leave out {what}"


@pytest.mark.parametrize("more", [["-q"], ["--json"], ["--workers", "2"], ["--on", "ray"], ["--track", "wandb"]])
def test_resume_takes_what_changes_no_number(more, capsys):
    assert said(capsys, "--resume", "runs/x", *more).startswith("no run runs/x, and no runs/x.partial to go on with")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["digits", "--seeds", "1.5"], '"1.5" is not a whole number'),
        (["digits", "--eps", "half"], 'Invalid value for --eps: "half" is not a number'),
        (["digits", "--ep", "0.2"], "Did you mean --eps?"),
        (["digits", "iris"], '"iris" is more than the command takes'),
        (["digits", "--config"], "--config"),
    ],
)
def test_words_that_mean_nothing_are_refused(words, message, capsys):
    assert message in said(capsys, *words)


def test_targets_that_are_named_one_by_one_are_joined(asked):
    options = asked("digits", "--arm", "one-hot", "--arm", "all:0.1", "--arm", "mixup:0.2")["options"]
    assert options.arms() == ["one-hot", "all:0.1", "mixup:0.2"]

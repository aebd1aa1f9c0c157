"""Losses of evaluation, which have no gradient of their own."""

import pytest
import torch
import torch.nn.functional as F

import sfumato as sf
from sfumato.probe.watching.evaluation import ShadowGraphMode, Tape, eps_of_evaluation, strength_of_value

Z = torch.randn(16, 10, generator=torch.Generator().manual_seed(0))
Y = torch.randint(0, 10, (16,), generator=torch.Generator().manual_seed(1))


def read(loss, mode=torch.no_grad):
    shadow = ShadowGraphMode()
    with shadow, mode():
        z = Z.clone()
        shadow.tape = Tape(z)
        loss(z)
        return eps_of_evaluation(shadow.tape.read())


def by_hand(z):
    log = z.log_softmax(-1)
    nll, every = -log.gather(1, Y[:, None])[:, 0], -log.mean(1)
    return (0.8 * nll + 0.2 * every).mean()


def in_place(z):
    z = z.clone()
    z /= 1.0
    value = torch.zeros(())
    value += F.cross_entropy(z, Y, label_smoothing=0.2)
    return F.cross_entropy(z, Y, label_smoothing=0.2)


READ = {
    "torch's": (lambda z: F.cross_entropy(z, Y, label_smoothing=0.2), 0.2),
    "ours": (lambda z: sf.cross_entropy(z, Y, label_smoothing=0.2), 0.2),
    "by hand": (by_hand, 0.2),
    "beside accuracy and a hard metric": (lambda z: (
        (z.argmax(1) == Y).float().mean(), F.cross_entropy(z, Y), F.cross_entropy(z, Y, label_smoothing=0.2).item(),
    ), 0.2),
    "perplexity": (lambda z: F.cross_entropy(z, Y, label_smoothing=0.2).exp(), 0.2),
    "rows, then numpy": (lambda z: F.cross_entropy(z, Y, label_smoothing=0.2, reduction="none").numpy().mean(), 0.2),
    "in place": (in_place, 0.2),
    "hard": (lambda z: F.cross_entropy(z, Y), 0.0),
    "hard, by hand": (lambda z: -z.log_softmax(1)[range(16), Y].mean(), 0.0),
    "classes": (lambda z: z.argmax(1), None),
    "squares": (lambda z: z.square().mean(), None),
    "nothing": (lambda z: None, None),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_loss_is_read_under_every_way_to_be_without_gradients(name, mode):
    loss, eps = READ[name]
    assert read(loss, mode) == (None if eps is None else pytest.approx(eps, abs=1e-3))


def test_what_calls_return_and_draw_is_as_without():
    shadow = ShadowGraphMode()
    with torch.random.fork_rng(), shadow, torch.no_grad():
        torch.manual_seed(0)
        z = Z.clone()
        shadow.tape = Tape(z)
        total = torch.zeros(1)
        total += F.cross_entropy(z, Y)
        noisy = F.dropout(z, 0.5).sum()
        after = torch.rand(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        assert torch.equal(noisy, F.dropout(Z, 0.5).sum())
        assert torch.equal(after, torch.rand(1))
    assert torch.equal(total, F.cross_entropy(Z, Y)[None])
    assert not noisy.requires_grad


@pytest.mark.parametrize("eps", [0.0, 0.1, 0.4])
@pytest.mark.parametrize("shift", [0, 1])
def test_the_value_of_a_loss_tells_its_strength_where_labels_are_known(eps, shift):
    z = torch.randn(3, 8, 11, generator=torch.Generator().manual_seed(2))
    y = torch.randint(0, 11, (3, 8), generator=torch.Generator().manual_seed(3))
    y[0, :4] = -100
    rows = z[:, : 8 - shift].flatten(0, 1)
    value = F.cross_entropy(rows, y[:, shift:].flatten(), label_smoothing=eps).item()
    told = strength_of_value(z, y, value)
    assert told == pytest.approx(eps, abs=1e-3) or (told is None and eps > 0)
    assert strength_of_value(z, y, value + 50) is None

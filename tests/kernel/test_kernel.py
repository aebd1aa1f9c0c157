"""The kernel behind the loss: the same bits always, memory that is reused only when dead, and what it refuses."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

import sfumato as sf
from sfumato import reference
from sfumato.kernel import buffers, job, library
from sfumato.targets.terms import AtLabel, Back, Terms
from tests import needs

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


@pytest.fixture(autouse=True)
def kernel():
    return needs.kernel()


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def loss_and_gradient(z, target, **options):
    leaf = z.detach().requires_grad_()
    loss = sf.cross_entropy(leaf, target, **options)
    (grad,) = torch.autograd.grad(loss, leaf, torch.ones_like(loss))
    return loss.detach(), grad.clone()


SHAPES = [(301, 10), (301, 64), (67, 65), (33, 1000), (5, 5000), (3, 7, 41), (2, 150, 9, 11)]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_the_same_bits_for_any_number_of_threads(dtype, shape, reduction, threads):
    generator = torch.Generator().manual_seed(0)
    z = (4 * torch.randn(shape, generator=generator)).to(dtype)
    labels = torch.randint(0, shape[1], (shape[0], *shape[2:]), generator=generator)
    results = []
    for number in (1, 2, 4, 8):
        threads(number)
        results.append(loss_and_gradient(z, labels, label_smoothing=0.1, reduction=reduction))
    for loss, grad in results[1:]:
        assert torch.equal(loss, results[0][0])
        assert torch.equal(grad, results[0][1])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("classes", [3, 10, 64, 65, 1000])
def test_a_row_does_not_depend_on_the_other_rows(dtype, classes):
    generator = torch.Generator().manual_seed(1)
    z = (4 * torch.randn(131, classes, generator=generator)).to(dtype)
    labels = torch.randint(0, classes, (131,), generator=generator)
    options = {"label_smoothing": 0.1, "reduction": "none", "out_dtype": torch.float32}
    loss, grad = loss_and_gradient(z, labels, **options)
    for part in (slice(0, 1), slice(130, 131), slice(17, 94), slice(64, 128)):
        some, some_grad = loss_and_gradient(z[part], labels[part], **options)
        assert torch.equal(some, loss[part])
        assert torch.equal(some_grad, grad[part])


@pytest.mark.parametrize("isa", ["baseline", "avx2"])
def test_lower_instruction_sets_keep_the_bounds(isa, kernel, tmp_path):
    if kernel.isa not in ("avx2", "avx512"):
        pytest.skip(f"this machine has one instruction set, {kernel.isa}")
    code = (
        "import torch, sfumato as sf\nfrom sfumato import reference\nfrom sfumato.kernel import job\n"
        f"assert job.status().isa == '{isa}', job.status()\n"
        "for dtype, bound in ((torch.float32, 5e-7), (torch.float64, 1e-14)):\n"
        "    for k in (3, 64, 65, 3000):\n"
        "        z = (5 * torch.randn(50, k)).to(dtype).requires_grad_()\n"
        "        y = torch.randint(0, k, (50,))\n"
        "        loss = sf.cross_entropy(z, y, label_smoothing=0.1, reduction='sum')\n"
        "        (grad,) = torch.autograd.grad(loss, z)\n"
        "        exact = reference.gradient(z.detach(), y, label_smoothing=0.1, reduction='sum')\n"
        "        truth = reference.cross_entropy(z.detach(), y, label_smoothing=0.1, reduction='sum')\n"
        "        assert abs(loss.double() - truth) <= 4 * bound * truth\n"
        "        assert (grad.double() - exact).abs().max() <= 4 * bound\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "SFUMATO_ISA": isa}, cwd=tmp_path)


def test_a_label_out_of_range_in_the_last_row_writes_nothing():
    z = torch.randn(1000, 20)
    labels = torch.zeros(1000, dtype=torch.long)
    labels[999] = 20
    loss, grad = torch.full((1000,), 7.0, dtype=torch.float64), torch.full((1000, 20), 7.0)
    target = job.FlatTarget(Terms(backs=(Back(0.1 / 19),), label=AtLabel(labels, 0.9)))
    with pytest.raises(IndexError, match="label 20 of row 999"):
        job.run(z, target, loss, grad)
    assert bool((loss == 7).all())
    assert bool((grad == 7).all())
    with pytest.raises(IndexError, match=r"^label 20 in row 999 is not a class: logits have 20 classes \(0 to 19\)$"):
        sf.cross_entropy(z, labels)


@pytest.mark.parametrize("rows", [*range(20), 127, 128, 129, 136, 1000, 65537])
def test_numbers_are_added_in_numpys_order(rows):
    needs.kernel()
    each = torch.randn(rows, generator=torch.Generator().manual_seed(rows), dtype=torch.float64).exp()
    assert job.add(each) == np.add.reduce(each.numpy())
    assert job.add(torch.stack([each, -each], dim=1)[:, 0]) == job.add(each)


@pytest.mark.parametrize("classes", [2, 5, 40, 300, 5000])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_largest_of_logits_that_are_all_negative_is_found(dtype, classes):
    # halves are ordered by their bits; with another one left out of the sum, e^(z − top) overflows
    generator = torch.Generator().manual_seed(4)
    z = (-6e4 * torch.rand(40, classes, generator=generator)).to(dtype)
    z[torch.arange(40), torch.randint(classes, (40,), generator=generator)] = -0.25
    labels = torch.randint(classes, (40,), generator=generator)
    loss, grad = loss_and_gradient(z, labels, label_smoothing=0.1)
    wide, wide_grad = loss_and_gradient(z.double(), labels, label_smoothing=0.1)
    torch.testing.assert_close(loss.double(), wide, rtol=torch.finfo(dtype).eps + 1e-6, atol=0)
    torch.testing.assert_close(grad.double(), wide_grad, rtol=torch.finfo(dtype).eps, atol=1e-7)


@pytest.mark.parametrize("classes", [10, 300])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_gradients_of_halves_are_those_of_float32_rounded_to_the_nearest(dtype, classes):
    generator = torch.Generator().manual_seed(5)
    z = (3 * torch.randn(200, classes, generator=generator)).to(dtype)
    labels = torch.randint(classes, (200,), generator=generator)
    _, grad = loss_and_gradient(z, labels, reduction="sum", label_smoothing=0.1)
    _, wide = loss_and_gradient(z.float(), labels, reduction="sum", label_smoothing=0.1)
    assert float((grad == wide.to(dtype)).float().mean()) > 0.995  # the rest lie between two of them in float32


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_any_strides_are_read_as_they_are(dtype):
    generator = torch.Generator().manual_seed(2)
    base = torch.randn(6, 12, 10, generator=generator).to(dtype)
    labels = torch.randint(0, 12, (6, 10), generator=generator)
    views = {
        "as it is": base,
        "classes last in memory": base.movedim(1, 2).contiguous().movedim(2, 1),
        "every other place": torch.stack([base, base], 3).flatten(2)[:, :, ::2],
        "rows from behind": base.flip(0).flip(0),
        "one row many times": base[:1].expand(6, 12, 10),
    }
    for name, view in views.items():
        loss, grad = loss_and_gradient(view, labels, label_smoothing=0.1)
        expected, expected_grad = loss_and_gradient(view.contiguous(), labels, label_smoothing=0.1)
        assert torch.equal(loss, expected), name
        assert torch.equal(grad, expected_grad), name


class TestBuffers:
    size = torch.Size([300, 1000])

    @pytest.fixture(autouse=True)
    def _empty_pool(self):
        gc.collect()
        buffers.release_buffers()

    def test_memory_is_used_again_when_its_storage_is_dead(self):
        first = buffers.empty(self.size, torch.float32)
        place = first.data_ptr()
        assert place % 64 == 0
        view, alias = first[10:20], torch.nn.Parameter(torch.zeros(self.size))
        alias.grad = first
        del first
        assert buffers.empty(self.size, torch.float32).data_ptr() != place
        del view
        assert buffers.empty(self.size, torch.float32).data_ptr() != place
        alias.grad = None
        places = {buffers.empty(self.size, torch.float32).data_ptr() for _ in range(3)}
        assert place in places or len(buffers._free) > 1

    def test_a_gradient_that_is_kept_is_never_written_again(self):
        z, labels = torch.randn(self.size), torch.randint(0, 1000, (300,))
        kept = [loss_and_gradient(z * scale, labels)[1] for scale in (1.0, 2.0)]
        leaf = z.clone().requires_grad_()
        sf.cross_entropy(leaf, labels).backward()
        held = leaf.grad.clone()
        for scale in (3.0, 4.0, 5.0):
            loss_and_gradient(z * scale, labels)
        assert torch.equal(leaf.grad, held)
        assert torch.equal(kept[0], loss_and_gradient(z, labels)[1])

    def test_a_retained_graph_gives_a_gradient_of_its_own_each_time(self):
        z, labels = torch.randn(self.size, requires_grad=True), torch.randint(0, 1000, (300,))
        loss = sf.cross_entropy(z, labels)
        first, second = (torch.autograd.grad(loss, z, retain_graph=True)[0] for _ in range(2))
        assert first.data_ptr() != second.data_ptr()
        assert torch.equal(first, second)

    def test_logits_are_let_go_after_backward_though_the_loss_is_kept(self):
        w, labels = torch.ones((), requires_grad=True), torch.randint(0, 1000, (300,))
        memory = buffers.empty(self.size, torch.float32).normal_()

        class Made(torch.autograd.Function):
            @staticmethod
            def forward(ctx, w, given):
                return given.detach()

            @staticmethod
            def backward(ctx, grad):
                return grad.sum(), None

        z = Made.apply(w, memory)
        place = memory.data_ptr()
        loss = sf.cross_entropy(z, labels, label_smoothing=0.1)
        del z, memory
        gc.collect()
        loss.backward()
        gc.collect()
        assert place in {block.ctypes.data + -block.ctypes.data % 64 for block in buffers._free}
        assert loss.isfinite()

    def test_the_pool_is_bounded_and_can_be_released(self):
        many = [buffers.empty(torch.Size([n, 1000]), torch.float32) for n in range(100, 120)]
        assert len(many) == 20
        del many
        gc.collect()
        assert len(buffers._free) <= 4
        sf.release_buffers()
        assert len(buffers._free) == 0

    def test_threads_never_share_a_block(self):
        wrong = []

        def work(number):
            for _ in range(200):
                mine = buffers.empty(self.size, torch.float32)
                mine[0].fill_(number)
                if not bool((mine[0] == number).all()):
                    wrong.append(number)

        workers = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert wrong == []

    def test_a_forked_child_starts_with_an_empty_pool(self):
        # in a process of its own: whoever has started threads in this one, as jax does, warns of forks
        program = (
            "import os, torch\n"
            "from sfumato.kernel import buffers\n"
            f"block = buffers.empty({self.size}, torch.float32)\n"
            "del block\n"
            "assert len(buffers._free) == 1\n"
            "child = os.fork()\n"
            "if child == 0:\n"
            "    os._exit(len(buffers._free))\n"
            "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0\n"
            "assert len(buffers._free) == 1\n"
        )
        subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("changed", ["logits", "labels"])
def test_what_is_changed_after_the_loss_is_noticed(changed):
    z, labels = 1 * torch.randn(4, 5, requires_grad=True), torch.tensor([0, 1, 2, 3])
    loss = sf.cross_entropy(z, labels, label_smoothing=0.1) / 2  # so that the gradient is not ready yet
    with torch.no_grad():
        (z if changed == "logits" else labels).zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("upstream", [65536.0, -0.5, 1.0])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_upstream_gradient_is_folded_in_before_rounding(upstream, reduction, dtype):
    generator = torch.Generator().manual_seed(3)
    z = (3 * torch.randn(64, 500, generator=generator)).to(dtype)
    labels = torch.randint(0, 500, (64,), generator=generator)
    options = {"label_smoothing": 0.1, "reduction": reduction}
    leaf = z.clone().requires_grad_()
    loss = sf.cross_entropy(leaf, labels, out_dtype=torch.float64, **options)
    (grad,) = torch.autograd.grad(loss, leaf, torch.full_like(loss, upstream))
    exact = reference.gradient(z, labels, **options) * upstream
    info = torch.finfo(dtype)
    assert bool(((grad.double() - exact).abs() <= info.eps * exact.abs() + 5e-7 * abs(upstream) + info.tiny).all())
    if dtype == torch.float16 and upstream == 65536.0:
        assert (grad == 0).double().mean() < 0.001


def test_overwritten_logits_hold_their_gradient():
    w, labels = torch.randn(8, 50, requires_grad=True), torch.randint(0, 50, (8,))
    (expected,) = torch.autograd.grad(sf.cross_entropy(w * 2, labels, label_smoothing=0.1), w)
    z = w * 2
    version = z._version
    loss = sf.cross_entropy(z, labels, label_smoothing=0.1, overwrite_logits=True)
    (grad,) = torch.autograd.grad(loss, w)
    assert torch.equal(grad, expected)
    assert z._version > version
    torch.testing.assert_close(z.detach() * 2, expected)


def test_a_library_of_another_version_is_refused_in_words(monkeypatch):
    monkeypatch.setattr(library, "ABI", 99)
    job.status.cache_clear()
    try:
        with pytest.warns(RuntimeWarning, match="slower torch path: .* has ABI version 6, this sfumato needs 99"):
            assert job.status().library is None
        z, labels = torch.randn(3, 4), torch.tensor([0, 1, 2])
        assert sf.cross_entropy(z, labels).isfinite()
    finally:
        monkeypatch.undo()
        job.status.cache_clear()


def test_a_kernel_without_its_openmp_says_what_brings_it(monkeypatch):
    lacking = "libgomp.so.1: cannot open shared object file: No such file or directory"

    def refuse(path):
        raise OSError(lacking)

    monkeypatch.setattr(library, "_openmp_of_torch", lambda: None)
    monkeypatch.setattr(library.ctypes, "CDLL", refuse)
    with pytest.warns(RuntimeWarning, match="apt-get install libgomp1 brings it$"):
        found = library.status.__wrapped__()
    assert (found.library, found.isa) == (None, "")
    assert lacking in found.reason


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")
@pytest.mark.parametrize(("overwrite", "gradients"), [(False, 1), (True, 0)])
def test_memory_above_the_logits_is_one_gradient(overwrite, gradients, tmp_path):
    code = (
        "import torch, sfumato as sf\n"
        "def peak():\n"
        "    return int(next(l for l in open('/proc/self/status') if l.startswith('VmHWM')).split()[1]) * 1024\n"
        "def step(w, y, overwrite):\n"
        "    z = w.detach().requires_grad_() * 1.0\n"
        "    open('/proc/self/clear_refs', 'w').write('5')\n"
        "    before = peak()\n"
        "    torch.autograd.grad(sf.cross_entropy(z, y, label_smoothing=0.1, overwrite_logits=overwrite), z)\n"
        "    return peak() - before\n"
        "y = torch.randint(0, 32000, (1024,))\n"
        f"step(torch.randn(64, 1000), y[:64] % 1000, {overwrite})\n"
        f"used = step(torch.randn(1024, 32000), y, {overwrite})\n"
        f"assert used <= {gradients} * 4 * 1024 * 32000 + 8 * 2**20, used / 2**20\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


def test_numbers_of_another_type_are_refused_before_they_are_read():
    z, labels = torch.randn(3, 4), torch.tensor([0, 1, 2])
    target = job.FlatTarget(Terms(backs=(Back(0.1 / 3),), label=AtLabel(labels, 0.9)))
    with pytest.raises(TypeError, match="the kernel reads contiguous float64 here, got torch.float32"):
        job.run(z, target, None, torch.empty(3, 4), row_scale=torch.zeros(3))


@pytest.mark.parametrize("path", needs.PATHS)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_an_ignored_row_is_inert_whatever_its_sample_weight(path, reduction, bad, monkeypatch):
    needs.path(path, monkeypatch)
    z, labels = torch.randn(4, 3), torch.tensor([0, -100, 2, 1])
    results = []
    for ignored in (bad, 1.0):
        leaf = z.clone().requires_grad_()
        weights = torch.tensor([0.5, ignored, 2.0, 1.0])
        loss = sf.cross_entropy(leaf, labels, sample_weight=weights, label_smoothing=0.1, reduction=reduction)
        (grad,) = torch.autograd.grad(loss.sum(), leaf)
        results.append((loss.detach(), grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])

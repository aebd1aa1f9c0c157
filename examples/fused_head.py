"""How much memory does the last layer of a language model need?

With 32,000 words, the logits of 2,048 tokens are 262 MB, and a loss with its
gradients makes several arrays of that size. `sf.linear_cross_entropy` takes the
layer's input and weight instead and never makes the logits. The same loss is
computed both ways, forward and backward, and the process says how far its memory
rose.

It needs Linux or macOS, whose `resource` counts memory. In Trainer, `fuse_head` of
`sfumato.adapters.hf` puts this loss into a language model.
"""

import resource
import sys

import torch
from torch.nn import functional as F

import sfumato as sf


def peak():
    """The most memory that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        2**20 if sys.platform == "darwin" else 2**10
    )


def step(loss, *tensors):
    before = peak()
    value = loss(*tensors)
    value.backward()
    return value.item(), peak() - before


def fused(x, weight, labels):
    return sf.linear_cross_entropy(x, weight, labels, label_smoothing=0.1)


def with_logits(x, weight, labels):
    return F.cross_entropy(F.linear(x, weight), labels, label_smoothing=0.1)


torch.manual_seed(0)
for loss in (fused, with_logits):  # what is done once, on few words
    small = (
        torch.randn(64, 256, requires_grad=True),
        torch.randn(500, 256, requires_grad=True),
    )
    step(loss, *small, torch.randint(0, 500, (64,)))

x = torch.randn(2048, 256, requires_grad=True)
weight = (torch.randn(32_000, 256) / 16).requires_grad_()
labels = torch.randint(0, 32_000, (2048,))
x.grad, weight.grad = (
    torch.ones_like(x),
    torch.ones_like(weight),
)  # so that their memory is not counted

for name, loss in (
    ("without logits", fused),
    ("with logits", with_logits),
):  # the peak only rises: the small one first
    value, memory = step(loss, x, weight, labels)
    print(f"{name}: loss {value:.4f}, {memory:.0f} MB")

"""Models of Keras, told of without Keras: a class whose calls go past the hooks of torch."""

from __future__ import annotations

import sys
import types

from sfumato.probe.watching.watcher import wrap_call


class Layer:
    def __call__(self, x):
        return x + 1


class Model(Layer):
    pass


def test_each_call_of_the_model_is_told_and_the_class_is_as_before(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras.src.layers.layer", types.SimpleNamespace(Layer=Layer))
    model, told = Model(), []
    undo = wrap_call(model, lambda *call: told.append(call))
    assert (model(1), Model()(5)) == (2, 6)
    assert told == [(model, (1,), {}, 2)]
    undo()
    assert (model(1), len(told), "__call__" in vars(Model)) == (2, 1, False)


def test_what_is_none_of_kerass_is_left_to_the_hooks_of_torch():
    assert wrap_call(Model(), print) is None

"""benchmarks/watch_cases.py: of set-ups whose truth is known, each fault is named, and nothing false is reported."""

import sys

import torch

from tests.benchmarks.conftest import BENCHMARKS


def pytest_generate_tests(metafunc):
    sys.path.insert(0, str(BENCHMARKS))
    try:
        cases = __import__("watch_cases")
    finally:
        sys.path.remove(str(BENCHMARKS))
        sys.modules.pop("watch_cases", None)
    if "name" in metafunc.fixturenames:
        metafunc.parametrize("name", cases.CASES)


def test_each_fault_is_named_and_nothing_false_is_reported(load, name):
    cases = load("watch_cases")
    one = cases.CASES[name]
    torch.manual_seed(1)
    seen = one.run()
    assert cases.false_statements(one, seen) == [], str(seen)
    assert cases.is_named(one, seen) == bool(one.codes), str(seen)

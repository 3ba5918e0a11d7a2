# One command for each thing one does with Carousel; `make` lists them.
#
# Two environments: .venv serves (torch only after `make train-env`), .venv-dev checks and tests. Each is made again
# when what it was made from changes, and costs nothing when it has not.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

# Arguments for the command behind a target: make serve ARGS="--http-port 8080".
ARGS ?=
# Arguments for every pip install, such as another index: make serve PIP_ARGS="--index-url ...".
PIP_ARGS ?=
# Any Python of at least 3.11; found by .ci/find-python if not given.
PYTHON ?=

# onnxruntime would report its use to its maker.
export ORT_DISABLE_TELEMETRY := 1

PIP := -m pip -qq --disable-pip-version-check install --constraint constraints.txt $(PIP_ARGS)
SOURCES_OF_ENVIRONMENTS := pyproject.toml constraints.txt $(wildcard client/pyproject.toml)
RUN := .venv-dev/bin
PYTEST := $(RUN)/python -m pytest
# A file's tests share servers, so a file is one process's.
SIDE_BY_SIDE := --numprocesses auto --maxprocesses 4 --dist loadfile

##@ Use
.PHONY: serve
serve: env ## make the environment if need be, then serve the shipped model (ARGS="...")
	@exec ./carousel serve $(ARGS)

.PHONY: env
env: .venv/.serving ## make .venv: what serving needs, without torch

.PHONY: train-env
train-env: .venv/.training ## add what `carousel train`, `export` and `evaluate` need to .venv

.PHONY: image
image: ## build the container image with docker, podman or buildah (IMAGE=carousel:dev)
	deploy/image/build.sh $(or $(IMAGE),carousel:dev)

##@ Work on it
.PHONY: check
check: lint types layers generated compatible deployable ## lint, types, layers, generated, compatible, deployable

.PHONY: lint
lint: .venv-dev/.complete ## ruff: rules and format
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .

.PHONY: types
types: .venv-dev/.complete ## mypy --strict
	$(RUN)/mypy

.PHONY: layers
layers: .venv-dev/.complete ## the arrows of the architecture
	$(RUN)/lint-imports

.PHONY: generated
generated: .venv-dev/.complete ## the protobuf stubs are those of proto/
	$(RUN)/python proto/generate.py --check

.PHONY: compatible
compatible: .venv-dev/.complete ## buf: the protocol is in good style and breaks nobody (wants npm)
	$(RUN)/python proto/check.py

.PHONY: deployable
deployable: .venv-dev/.complete ## the Kubernetes manifests are valid, the Dockerfile is clean
	$(RUN)/python -m deploy.validate
	$(RUN)/hadolint Dockerfile

.PHONY: test
test: .venv-dev/.complete .venv-tritonclient/.complete ## run the tests (at most 12 minutes; ARGS="-k name")
	$(PYTEST) $(SIDE_BY_SIDE) -m "not slow and not faults" $(ARGS)

.PHONY: format
format: .venv-dev/.complete ## rewrite the sources as `check` wants them
	$(RUN)/ruff check --fix .
	$(RUN)/ruff format .

.PHONY: stubs
stubs: .venv-dev/.complete ## generate the protobuf stubs again
	$(RUN)/python proto/generate.py

.PHONY: constraints
constraints: .venv-dev/.complete ## pin the newest versions that fit together, in constraints.txt
	$(RUN)/python .ci/pin_constraints.py

##@ Take longer
.PHONY: test-all
test-all: .venv-dev/.complete .venv-tritonclient/.complete ## every test, the container image and other CPUs included (wants buildah, mmdebstrap, qemu, promtool)
	.ci/system-packages buildah mmdebstrap prometheus qemu-user-static
	$(PYTEST) -m "not faults" --timeout 1200 $(ARGS)

.PHONY: faults
faults: .venv-dev/.complete ## kill, freeze, cut and tear what runs, and count what became of it (ARGS="--faults-json FILE")
	$(PYTEST) tests/faults --timeout 1800 $(ARGS)

.PHONY: bench
bench: env ## measure what the README states (ARGS="replay FILE")
	./carousel bench $(ARGS)

.PHONY: triton-env
triton-env: .venv-triton/.complete ## make .venv-triton: Triton, which `bench replay` compares with (Linux, Python 3.11)

.PHONY: installed-size
installed-size: ## install the server by itself somewhere and say how much that takes
	.ci/installed-size

##@ Begin again
.PHONY: clean
clean: ## remove environments, caches and builds; models and checkpoints stay
	rm -rf .venv .venv-dev .venv-triton .venv-tritonclient build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

.PHONY: help
help: ## this list
	@awk 'BEGIN { FS = ":.*## " } /^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# --- environments -----------------------------------------------------------------------------------------------------

# An environment whose Python is gone, after a system's upgrade say, is made anew; otherwise it is updated in place.
$(shell for made in .venv/.made .venv-dev/.made; do [[ -x $${made%.made}bin/python ]] || rm -f "$$made"; done)

.venv/.made .venv-dev/.made:
	@python="$$(.ci/find-python $(PYTHON))"; \
	echo "making $(@D) with $$python"; \
	"$$python" -m venv --clear $(@D)
	@touch $@

.venv/.serving: $(SOURCES_OF_ENVIRONMENTS) | .venv/.made
	@echo "installing what serving needs into .venv"
	@.venv/bin/python $(PIP) --editable . --editable ./client
	@touch $@

.venv/.training: .venv/.serving
	@echo "installing what training needs into .venv; torch is large"
	@.venv/bin/python $(PIP) --editable '.[train]' --editable ./client
	@touch $@

# The wheel brings the server itself, so nothing but pip is wanted; its own constraints, for it needs an older NumPy.
.venv-triton/.complete: benchmarks/triton/requirements.txt
	@python="$$(.ci/find-python $(PYTHON))"; "$$python" -m venv --clear $(@D)
	@echo "installing Triton into $(@D); it is large"
	@$(@D)/bin/python -m pip -qq --disable-pip-version-check install $(PIP_ARGS) --requirement $<
	@touch $@

# An environment of its own: the client of Triton's wants an older protobuf than the server has.
.venv-tritonclient/.complete: tests/integration/kserve/requirements.txt
	@python="$$(.ci/find-python $(PYTHON))"; "$$python" -m venv --clear $(@D)
	@echo "installing Triton's client, which tests drive, into $(@D)"
	@$(@D)/bin/python -m pip -qq --disable-pip-version-check install $(PIP_ARGS) --requirement $<
	@touch $@

.venv-dev/.complete: $(SOURCES_OF_ENVIRONMENTS) | .venv-dev/.made
	@echo "installing what checks and tests need into .venv-dev; torch is large"
	@.venv-dev/bin/python $(PIP) --no-compile --editable '.[train,dev]' --editable ./client
	@touch $@

# Darkroom: `make run` does the main job, `make test` runs the tests; both set up all they need first.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= $(shell command -v python3.11 || command -v python3)
UV := .venv-tools/bin/uv
BIN := .venv/bin
SAMPLES := .darkroom/samples
SOURCE ?= $(SAMPLES)
WORKFLOW ?= photo-audit
ARGS ?=
TESTS ?= tests
JOBS ?= 3
BENCH ?=
IMAGE_VERSION ?= latest
IMAGE_OPTIONS ?=

export UV_NO_PROGRESS = 1
export UV_PYTHON_DOWNLOADS = never
# Where it is set, every process would compile every module anew: seconds for each.
export PYTHONDONTWRITEBYTECODE =

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: .venv/ready .venv-engine/ready ## Create both environments, when they are missing or their locks have changed

.PHONY: run
run: setup samples ## Process sample photographs; SOURCE=DIR WORKFLOW=ID for your own
	@$(BIN)/darkroom run "$(SOURCE)" --workflow "$(WORKFLOW)" $(ARGS)

.PHONY: samples
samples: setup
	@if [ "$(SOURCE)" = "$(SAMPLES)" ]; then .venv-engine/bin/python deployments/samples.py $(SAMPLES); fi

.PHONY: up
up: setup samples ## Start Prefect, a worker, the batch server and the receiver here; PREFECT_PORT, SERVER_PORT, RECEIVER_PORT
	@$(BIN)/python -m deployments.stack up \
		$(if $(PREFECT_PORT),--prefect-port $(PREFECT_PORT)) \
		$(if $(SERVER_PORT),--server-port $(SERVER_PORT)) \
		$(if $(RECEIVER_PORT),--receiver-port $(RECEIVER_PORT))

.PHONY: down
down: ## End what `make up` started
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m deployments.stack down; fi

.PHONY: test
test: setup .venv-readers/ready .venv-emulators/ready .venv-emulators/azurite/ready ## Run all tests; TESTS=path for some
	@$(BIN)/pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(TESTS)

.PHONY: lint
lint: .venv/ready ## Check style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

.PHONY: contract
contract: setup .venv-contract/ready .venv-emulators/ready ## Install the official client and run it against our server
	@$(BIN)/pytest -m official_client tests/contract

.PHONY: bench
bench: setup .venv-contract/ready .venv-readers/ready .venv-emulators/ready ## Measure side by side with the engine and the official client
	@$(BIN)/python -m tests.benchmarks $(BENCH)

.PHONY: image
image: ## Build the images darkroom and darkroom-server; IMAGE_OPTIONS for docker build
	@for target in pipeline server; do \
		docker build $(IMAGE_OPTIONS) -f deployments/Dockerfile --target $$target \
			--build-arg VERSION=$(IMAGE_VERSION) --build-arg REVISION="$$(git rev-parse HEAD)" \
			--build-arg SOURCE_DATE_EPOCH="$$(git log -1 --format=%ct)" \
			-t "darkroom$$([ $$target = pipeline ] || echo -$$target):$(IMAGE_VERSION)" .; \
	done

.PHONY: variants
variants: .venv/ready ## Make the deployments for containers anew from prefect.yaml
	@$(BIN)/python -m deployments.stack.variants

.PHONY: lock
lock: $(UV) ## Resolve the locks anew
	@$(UV) pip compile $(LOCK_OPTIONS) --extra dev pyproject.toml -o requirements.lock
	@printf '%s\n' inference-cpu==0.59.1 supervision==0.27.0.post2 opencv-contrib-python-headless==4.10.0.84 \
		| $(UV) pip compile $(LOCK_OPTIONS) --override <(printf '%s\n' $(WITHOUT_SCREEN)) - -o engine.lock
	@printf 'inference-cli[cloud-storage]==1.8.3\n' \
		| $(UV) pip compile $(subst $(LOCK_DATE),2026-11-15,$(LOCK_OPTIONS)) - -o contract.lock
	@printf 'uv\n' | $(UV) pip compile $(LOCK_OPTIONS) - -o tools.lock
	@printf '%s\n' 'moto[s3]' flask flask-cors gcp-storage-emulator asyncssh \
		| $(UV) pip compile $(LOCK_OPTIONS) - -o emulators.lock
	@printf '%s\n' duckdb pandas 'pyarrow==25.*' pycocotools supervision opencv-python-headless \
		| $(UV) pip compile $(LOCK_OPTIONS) --override <(printf '%s\n' 'opencv-python; python_version < "3"') - -o readers.lock
	@npm install --prefix tests/emulators --package-lock-only --omit-lockfile-registry-resolved --before $(LOCK_DATE) $(NPM_OPTIONS)
	@.venv-tools/bin/python tests/emulators/bare_lock.py tests/emulators/package-lock.json

# Later releases do not work together; see README, "Locks".
LOCK_DATE := 2026-09-15
LOCK_OPTIONS := --quiet --exclude-newer $(LOCK_DATE) --python-version 3.11 --generate-hashes --no-header --no-emit-index-url

NPM_OPTIONS := --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error

# The engine asks for OpenCV with windows, which needs X11 and OpenGL libraries of the system; the headless one needs none.
WITHOUT_SCREEN := 'opencv-python; python_version < "3"' 'opencv-contrib-python; python_version < "3"'

.PHONY: clean
clean: down ## Remove the environments and everything under .darkroom; runs stay
	rm -rf .venv .venv-engine .venv-contract .venv-readers .venv-emulators .venv-tools .darkroom

$(UV): tools.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' \
		|| { echo "Darkroom needs Python 3.11: install it, or name it with make PYTHON=/path/to/python3.11"; exit 2; }
	@$(PYTHON) -m venv .venv-tools
	@.venv-tools/bin/pip install --quiet --disable-pip-version-check --require-hashes -r tools.lock
	@touch $@

.venv/ready: requirements.lock pyproject.toml $(UV)
	@echo "setting up the pipeline's environment"
	@test -x $(BIN)/python || $(UV) venv --quiet --python $(PYTHON) .venv
	@$(UV) pip sync --quiet --python $(BIN)/python --compile-bytecode --require-hashes requirements.lock
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m flows.prefect_server prepare .darkroom
	@touch $@

.venv-engine/ready: engine.lock $(UV)
	@echo "setting up the engine's environment"
	@test -x .venv-engine/bin/python || $(UV) venv --quiet --python $(PYTHON) .venv-engine
	@$(UV) pip sync --quiet --python .venv-engine/bin/python --require-hashes engine.lock
	@touch $@

.venv-contract/ready: contract.lock $(UV)
	@echo "setting up the official client's environment"
	@test -x .venv-contract/bin/python || $(UV) venv --quiet --python $(PYTHON) .venv-contract
	@$(UV) pip sync --quiet --python .venv-contract/bin/python --require-hashes contract.lock
	@touch $@

.venv-readers/ready: readers.lock $(UV)
	@echo "setting up the libraries that the tests read exports with"
	@test -x .venv-readers/bin/python || $(UV) venv --quiet --python $(PYTHON) .venv-readers
	@$(UV) pip sync --quiet --python .venv-readers/bin/python --require-hashes readers.lock
	@touch $@

.venv-emulators/ready: emulators.lock $(UV)
	@echo "setting up the storage emulators for the tests"
	@test -x .venv-emulators/bin/python || $(UV) venv --quiet --python $(PYTHON) .venv-emulators
	@$(UV) pip sync --quiet --python .venv-emulators/bin/python --require-hashes emulators.lock
	@touch $@

.venv-emulators/azurite/ready: tests/emulators/package.json tests/emulators/package-lock.json .venv-emulators/ready
	@if ! command -v npm >/dev/null; then \
		echo "npm is not installed: the tests of Azure storage are skipped"; \
	else \
		mkdir -p $(@D) && cp tests/emulators/package.json tests/emulators/package-lock.json $(@D)/ \
		&& npm ci --prefix $(@D) $(NPM_OPTIONS) >/dev/null && touch $@; \
	fi

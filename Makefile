# mvqlab's errands. `make` lists them. Everything is installed into .venv; nothing outside is touched.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
QUICKSTART := ablations/quickstart.yaml
DEMO_PICTURES := mask_ratio_moving reconstructions_emoji sample_sheet_fashion sample_sheet_emoji
NOTEBOOKS := $(shell find notebooks -name '*.ipynb' -not -path '*/.ipynb_checkpoints/*')
NOTEBOOK_NOISE := metadata.papermill cell.metadata.papermill cell.metadata.execution

# A Python that is named is taken as it is for what runs on a GPU: such machines bring their own torch.
GPU_PYTHON := $(if $(filter file,$(origin PYTHON)),$(BIN)/python,$(PYTHON))
SECONDS := 240
PACK := results/gpu/data.pack.zip
GPU_NEEDS := $(if $(filter file,$(origin PYTHON)),$(VENV)/.installed-dev)

.DEFAULT_GOAL := help
.PHONY: help demo test lint format bench book checkpoints gpu gpu-pack gpu-check gpu-bench gpu-train clean

help: ## list what can be made
	@echo "make TARGET, where TARGET is one of:"
	@sed -n 's/^\([a-z-]*\):.*## /  \1|/p' Makefile | awk -F'|' '{ printf "%-11s %s\n", $$1, $$2 }'

demo: $(VENV)/.installed ## install mvqlab, draw with the models that come along, run the quickstart grid
	@echo "==> Drawing with the models that come along (no GPU, no download)"
	@$(BIN)/mvqlab results make $(DEMO_PICTURES) --out results/demo
	@echo "==> Running the quickstart grid ($(QUICKSTART)): the same from nothing, in minutes, so far from as good"
	@$(BIN)/mvqlab grid run $(QUICKSTART)
	@echo "==> Making its table and figures"
	@$(BIN)/mvqlab grid table $(QUICKSTART)
	@echo "==> First of all, look at results/demo/mask_ratio_moving.webp (in a browser) and the sheets beside it"

test: lint ## install everything, check style and notebooks, run every test
	@echo "==> Running all tests, the slow ones too"
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "" -n auto --dist loadfile

lint: $(VENV)/.installed-dev ## check style, floors, type hints, and that notebooks are stored without outputs
	@echo "==> Checking style"
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@echo "==> Checking the floors: which room imports from which"
	@$(BIN)/lint-imports --no-logo > $(VENV)/floors.txt 2>&1 || { cat $(VENV)/floors.txt; exit 1; }
	@echo "==> Checking the type hints"
	@$(BIN)/mypy --no-error-summary
	@echo "==> Checking that notebooks are stored without outputs"
	@$(if $(NOTEBOOKS),$(BIN)/nbstripout --verify --extra-keys "$(NOTEBOOK_NOISE)" $(NOTEBOOKS),echo "no notebooks yet")

format: $(VENV)/.installed-dev ## put style right, and take outputs out of notebooks
	@echo "==> Formatting"
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format
	@$(if $(NOTEBOOKS),$(BIN)/nbstripout --extra-keys "$(NOTEBOOK_NOISE)" $(NOTEBOOKS))

bench: $(VENV)/.installed ## measure the speed-ups on this machine
	@echo "==> Measuring (some minutes)"
	@$(BIN)/mvqlab bench

book: $(VENV)/.installed-dev ## run the lessons and render them as a site, into results/book
	@$(BIN)/mvqlab course book

# Each shipped model's own settings are its recipe.
checkpoints: $(VENV)/.installed ## train the models that come with mvqlab anew, into results/shipped (hours on a CPU)
	@for name in emoji_mqvae anything_mqvae fashion_mqvae fashion_plain_vq simple_mqvae simple_plain_vq; do \
	  $(BIN)/mvqlab train --preset mvqlab/zoo/checkpoints/$$name/config.yaml --stage 1 --fresh --out results/shipped/$$name && \
	  $(BIN)/python -m mvqlab.zoo.shipping results/shipped/$$name || exit 1; done
	@for pair in emoji_mqvae/emoji_stackformer fashion_mqvae/fashion_stackformer fashion_plain_vq/fashion_raster \
	  simple_mqvae/simple_stackformer simple_mqvae/simple_captions simple_plain_vq/simple_raster; do \
	  stage1=$${pair%/*}; name=$${pair#*/}; \
	  $(BIN)/mvqlab train --preset mvqlab/zoo/checkpoints/$$name/config.yaml --stage 2 --fresh --out results/shipped/$$name \
	    --stage1 mvqlab/zoo/checkpoints/$$stage1 && \
	  $(BIN)/python -m mvqlab.zoo.shipping results/shipped/$$name || exit 1; done

# What a machine with a GPU is asked for, in stages of a few minutes. Where mvqlab is installed already:
# make gpu-check PYTHON=/path/to/its/python
gpu: ## on a machine with a GPU: all stages that follow, in that order, into results/gpu
	@for stage in gpu-pack gpu-check gpu-bench gpu-train; do $(MAKE) --no-print-directory $$stage || failed=yes; done; test -z "$$failed"

# Rendering takes minutes and no GPU: made before, elsewhere, and carried along, the file is taken as it is.
gpu-pack: $(PACK) ## render what gpu-train learns from into one file, on any machine: no GPU is needed
	@echo "packed: $(PACK)"

$(PACK): | $(GPU_NEEDS)
	@$(GPU_PYTHON) -m mvqlab gpu pack $(PACK)

gpu-check: $(GPU_NEEDS) ## does the GPU compute what the CPU does? (under 3 minutes)
	@$(GPU_PYTHON) -m mvqlab gpu check

gpu-bench: $(GPU_NEEDS) ## how quick is the GPU beside its limits? (under 3 minutes)
	@$(GPU_PYTHON) -m mvqlab gpu bench

gpu-train: $(GPU_NEEDS) $(PACK) ## train the models that ship, as well as SECONDS=240 allow
	@$(GPU_PYTHON) -m mvqlab gpu train $(SECONDS) --pack $(PACK)

clean: ## remove .venv and the caches of tools; results/ stays
	@echo "==> Removing $(VENV) and caches"
	@rm -rf $(VENV) mvqlab.egg-info build .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis
	@find mvqlab tests -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is touched when its step has succeeded, so a step that was cut short is done anew.
$(VENV)/.made:
	@command -v $(PYTHON) > /dev/null || { echo "There is no $(PYTHON) here. Install Python 3.11 or newer."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "mvqlab needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) --version 2>&1)."; \
	  echo "Name another one: make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "==> Making a virtual environment in $(VENV)"
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.made pyproject.toml constraints.txt
	@echo "==> Installing mvqlab and what it needs, in the versions of constraints.txt (the first time takes minutes)"
	@$(PIP) install -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.made pyproject.toml constraints.txt
	@echo "==> Installing mvqlab with all extras and test tools, in the versions of constraints.txt (the first time takes minutes)"
	@$(PIP) install -c constraints.txt -e '.[dev]'
	@touch $(VENV)/.installed $@

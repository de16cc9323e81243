# Two commands do everything: `make book` and `make test`. Each sets up what it needs first.

PYTHON ?= python3
PROFILE ?= smoke
JOBS ?= 2
VENV ?= .venv
DRAFT ?=

ifneq ($(realpath $(dir $(lastword $(MAKEFILE_LIST)))),$(realpath .))
$(error Run make in the folder of the Makefile: make -C $(dir $(lastword $(MAKEFILE_LIST))) $(MAKECMDGOALS))
endif
ifeq ($(strip $(VENV)),)
$(error VENV= is empty; allowed: a folder that is not there yet, or one that make made in this folder)
endif

RUN := $(VENV)/bin/python
# The stamp bears a hash of what was installed, so that a restored or an old environment is known for what it is.
STAMP := $(VENV)/installed-$(shell cat requirements.lock pyproject.toml | cksum | cut -d ' ' -f 1)
# It holds the name of this folder: no other environment is written to or removed.
OURS = [ -z "$$(ls -A $(VENV) 2>/dev/null)" ] || cat $(VENV)/installed-* 2>/dev/null | grep -qxF "$(CURDIR)" || { \
	echo "VENV=$(VENV): make did not make it in this folder; name another folder, or remove it by hand." >&2; exit 1; }
CODE := atif_lib ci tests $(wildcard book/*.py book/assignments/*.py)

.DEFAULT_GOAL := help
.NOTPARALLEL:  # whatever -j says: a step reads what the one before it wrote
.PHONY: help setup data book records execute site assignments check browser pdf notebooks test test-fast coverage lint lock clean distclean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'
	@echo "  PROFILE=smoke|laptop|full, JOBS=2, PYTHON=python3 and DRAFT=1 (unwritten pages left out) may be set."

setup: $(STAMP)  ## make .venv with the pinned packages and the library
	@echo "Ready. Next: source $(VENV)/bin/activate"

$(STAMP):
	@$(OURS)
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(not (3, 11) <= v < (3, 14))' \
		|| { echo "Python 3.11, 3.12 or 3.13 is needed; name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@mkdir -p $(VENV) && echo "$(CURDIR)" > $(VENV)/installed-partly
	$(PYTHON) -m venv $(VENV)
# The lock names every package, so pip has nothing to resolve: torch is fetched once and read once.
	$(RUN) -m pip install --no-deps --requirement requirements.lock
	$(RUN) -m pip install --no-deps --no-build-isolation --editable .
	@rm -f $(VENV)/installed-*
	@echo "$(CURDIR)" > $@

data: $(STAMP)  ## fetch CIFAR-10; without it the chapters use scikit-learn's digits
	@$(RUN) -m atif_lib data cifar10 || { [ $$? -eq 2 ] \
		&& echo "CIFAR-10 is not ready, for the reason above: the chapters run on scikit-learn's digits instead." >&2; }

book: data records execute site check  ## run the chapters, build the site and check it
	@echo "The book is in _build/html; open _build/html/index.html"

records: $(STAMP)  ## check that the manifest and the README say what the run records say
	$(RUN) -m atif_lib report --check

execute: $(STAMP)  ## run the chapters that changed
	$(RUN) -m ci.execute_chapters --profile $(PROFILE) --jobs $(JOBS)

site: records  ## build the site, slides too, from the executed chapters
	$(RUN) -m ci.build_book $(if $(DRAFT),--draft)
	$(RUN) -m ci.make_colab
	$(RUN) -m ci.slides
	$(RUN) -m ci.assignments

assignments: $(STAMP)  ## make the assignments: for students in the site, with solutions in _build/assignments
	$(RUN) -m ci.assignments

check: $(STAMP)  ## check the built site: links, alt texts, notes of slides, nothing from the network
	$(RUN) -m ci.check_book

browser: $(STAMP)
	@$(RUN) -m ci.browser

pdf: browser data records execute site  ## print the book as one PDF (needs Chromium, Chrome or Edge)
	$(RUN) -m ci.pdf

notebooks: $(STAMP)  ## run the notebooks as a reader on Colab does, without the checkout
	$(RUN) -m ci.run_notebooks --jobs $(JOBS)

test: $(STAMP)  ## run the tests
	$(RUN) -m pytest -n $(JOBS) --dist worksteal

test-fast: $(STAMP)  ## run the tests that take less than 20 s each
	$(RUN) -m pytest -n $(JOBS) --dist worksteal -m "not slow"

coverage: $(STAMP)  ## show which lines of the library the fast tests do not reach
	$(RUN) -m pytest -m "not slow" --cov=atif_lib --cov-report=term-missing:skip-covered

lint: $(STAMP)  ## check the code's style, its types, and who imports whom
	$(RUN) -m ruff check $(CODE)
	$(RUN) -m ruff format --check $(CODE)
	$(RUN) -m basedpyright --pythonpath $(RUN)
	$(VENV)/bin/lint-imports --no-cache --no-logo

lock:  ## renew requirements.lock (needs uv)
	uv pip compile --universal --python-version 3.11 --all-extras --no-annotate \
		--custom-compile-command "make lock" --output-file requirements.lock pyproject.toml

clean:  ## remove what was built, but for trainings and their weights in _build/runs
	[ ! -d _build ] || find _build -mindepth 1 -maxdepth 1 ! -name runs -exec rm -rf {} +

distclean: clean  ## remove the environment too
	@$(OURS)
	rm -rf $(VENV)

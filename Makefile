# make demo: install into .venv, train a small tower on real photographs, write samples and measures.
# make demo-mnist, demo-colorization, demo-decompression: the same for other tasks.
# make test: install into .venv, run the tests.
# make browser-test: of these, those of the page of tim explore in a real browser; needs Chromium (apt-get install chromium).
# make faults: the fault suite, half an hour: mutated option files, damaged inputs, kills, odd surroundings; fails on any traceback or nonsense.
# make docs: the guide, into docs/_build/html; a warning is an error.
# PYTHON=python3.11 make demo  chooses the interpreter (3.10 to 3.14).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: install demo demo-mnist demo-colorization demo-decompression test browser-test faults lint docs clean

install: $(INSTALLED)

$(INSTALLED): setup.py pyproject.toml wheels/*.whl
	@$(PYTHON) -c "import sys; v = sys.version_info[:2]; sys.exit(None if v >= (3, 10) else 'error: Python %d.%d: 3.10 or newer is needed; run PYTHON=python3.13 make ...' % v)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[demo,test]'
	@touch $@

demo: $(INSTALLED)
	$(BIN)/python tools/demo.py sr16x

demo-mnist: $(INSTALLED)
	$(BIN)/python tools/demo.py mnist_pca

demo-colorization demo-decompression: demo-%: $(INSTALLED)
	$(BIN)/python tools/demo.py $*

test: $(INSTALLED)
	$(BIN)/python -m pytest

browser-test: $(INSTALLED)
	$(BIN)/python -m pytest -n 0 tests/explorer/test_browser.py

faults: $(INSTALLED)
	PYTHONPATH=tests $(BIN)/python -m faults

lint: $(INSTALLED)
	$(BIN)/ruff check .

docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

$(VENV)/.docs: $(INSTALLED)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[docs]'
	@touch $@

clean:
	rm -rf $(VENV) build *.egg-info tim_plugin/_vendor docs/_build docs/api docs/auto_gallery

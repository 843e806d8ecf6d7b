# Needs Python 3.10 or later with pip and venv, nothing else: every target makes
# the virtual environment it uses, once. Another interpreter: make test PYTHON=python3.13
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo test test-patched fuzz soak bench docs lint clean
# Two pips in one environment would break each other.
.NOTPARALLEL:
.DELETE_ON_ERROR:

help:
	@echo 'make demo    a fan-out over servers that it starts itself'
	@echo 'make test    the tests, in unpatched processes, and their coverage'
	@echo 'make test-patched   the same in processes that gevent has patched'
	@echo 'make fuzz    fuzzers that draw new cases each time (--seconds N, --hypothesis-seed=N)'
	@echo 'make soak    a million requests, a tenth killed: memory stays flat (needs nginx; --requests N, --seed N)'
	@echo 'make bench   the benchmark against other clients (needs nginx)'
	@echo 'make docs    the documentation, into docs/_build/html'
	@echo 'make lint    ruff, mypy and import-linter'
	@echo 'make clean   removes what the other targets made'
	@echo 'PYTHON=...   the interpreter that the virtual environment $(VENV) is made with'
	@echo 'ARGS=...     more arguments for pytest, the fuzzers, the soak, the benchmark or the demo'

demo: $(VENV)/.installed-all
	$(BIN)/napix demo $(ARGS)

# In halves side by side, as most tests wait more than they work. ARGS names tests: they run in both kinds of process.
FIRST := $(wildcard tests/test_[a-n]*.py)
SECOND := $(wildcard tests/test_[o-z]*.py)
export BESIDE := 1
define together
jobs=; for suite in $(1); do \
	log=$$(mktemp) && { eval "$$suite" >"$$log" 2>&1; code=$$?; cat "$$log"; rm "$$log"; exit $$code; } & \
	jobs="$$jobs $$!"; \
done; \
for job in $$jobs; do wait $$job || failed=1; done; test -z "$$failed"
endef

test: $(VENV)/.installed-all,test
ifeq ($(ARGS),)
	$(BIN)/coverage erase
	@echo '== in unpatched processes, and the command'
	@$(call together,'$(BIN)/coverage run -m pytest $(FIRST)' '$(BIN)/coverage run -m pytest $(SECOND)' \
		'$(BIN)/coverage run -m pytest tests/cli')
	@echo '== alone and untraced: the hub is never held for 100 ms'
	env -u BESIDE $(BIN)/python -m pytest tests/test_unblocked.py tests/test_faults.py \
		-k 'unblocked or test_19 or 22 or test_36'
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report
else
	env -u BESIDE $(BIN)/python -m pytest $(ARGS)
	env -u BESIDE $(BIN)/python tests/patched.py $(ARGS)
endif

test-patched: $(VENV)/.installed-all,test
	@echo '== in patched processes'
	@$(call together,'$(BIN)/python tests/patched.py $(FIRST)' '$(BIN)/python tests/patched.py $(SECOND)')

# At least a round in an unpatched and one in a patched process; each begins with the seed to repeat it by.
fuzz: $(VENV)/.installed-all,test
	$(BIN)/python -m tests.fuzz $(ARGS)

soak: $(VENV)/.installed-all,test
	$(BIN)/python -m tests.soak $(ARGS)

bench: $(VENV)/.installed-all,bench
	$(BIN)/python -m benchmarks $(ARGS)

docs: $(VENV)/.installed-all,docs
	$(BIN)/python -m sphinx -W --keep-going docs docs/_build/html

lint: $(VENV)/.installed-all,lint
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) .tox build dist *.egg-info docs/_build .coverage .coverage.* \
		.hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache fuzz.log
	find . -name __pycache__ -prune -exec rm -rf {} +

# .installed-EXTRAS marks that the package is installed with these extras; newer metadata installs it again.
$(VENV)/.installed-%: $(BIN)/pip setup.cfg setup.py pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[$*]'
	@touch '$@'

# pip comes last into a virtual environment, so its presence says that the environment is whole.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
		echo '$(PYTHON) is missing or older than Python 3.10; name another one: make PYTHON=python3.12' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo '$(PYTHON) cannot make virtual environments. On Debian and Ubuntu: apt install python3-venv' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

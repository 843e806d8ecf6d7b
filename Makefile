# Needs Python 3.10 or later with pip and venv, nothing else: every target makes
# the virtual environment it uses, once. Another interpreter: make test PYTHON=python3.13
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo test test-timed test-faces test-programs test-docs-reader test-service-full test-patched test-faces-patched test-cluster test-zaqar test-chaos test-saga test-servers test-servers-quick coverage fuzz soak soak-cluster bench docs lint clean
# Two pips in one environment would break each other.
.NOTPARALLEL:
.DELETE_ON_ERROR:

help:
	@echo 'make demo    a fan-out over servers that it starts itself'
	@echo 'make test    the tests of the library, in unpatched processes'
	@echo 'make test-timed   all tests that have a limit in seconds, alone and untraced'
	@echo 'make test-patched   the same in processes that gevent has patched'
	@echo 'make test-faces-patched   the same in processes that gevent has patched; CI has no time for them'
	@echo 'make test-faces  the tests of what stands on the library: servers, replicas and shards, REST, queues'
	@echo 'make test-programs   the tests of the command and of the service'
	@echo 'make test-docs-reader   the examples of the documentation, as a reader runs them: fresh environments, napix demo --serve'
	@echo 'make test-service-full   those of the service at full size: 10,000 requests killed half-way, watched by 50'
	@echo 'make test-cluster   fan-outs over workers and RabbitMQ, with kill -9 of each (needs rabbitmq-server)'
	@echo 'make test-chaos   the service under siege: killed, stopped, parted from its store (ARGS=--full takes longer)'
	@echo 'make test-saga   sagas whose process is killed at 100 random points (ARGS=--full: 500)'
	@echo 'make coverage   how much of the code the runs since make test began have reached'
	@echo 'make test-zaqar  the Marconi client against Zaqar, Keystone and Redis, which it installs in .zaqar/'
	@echo 'make test-servers   real servers, from nginx to Tomcat, which it installs'
	@echo 'make test-servers-quick   those of them that take less time'
	@echo 'make fuzz    fuzzers that draw new cases each time (--seconds N, --hypothesis-seed=N)'
	@echo 'make soak    a million requests, a tenth killed: memory stays flat (needs nginx; --requests N, --seed N)'
	@echo 'make soak-cluster   a million requests over workers that are killed every 20 s, the broker once (--requests N)'
	@echo 'make bench   the benchmark against other clients (needs nginx)'
	@echo 'make docs    the documentation, into docs/_build/html'
	@echo 'make lint    ruff, mypy, import-linter and pyright'
	@echo 'make clean   removes what the other targets made'
	@echo 'PYTHON=...   the interpreter that the virtual environment $(VENV) is made with'
	@echo 'ARGS=...     more arguments for pytest, the fuzzers, the soak, the benchmark or the demo'

demo: $(VENV)/.installed-all
	$(BIN)/napix demo $(ARGS)

# In thirds side by side, as most tests wait more than they work. ARGS names tests: they run in both kinds of process.
SERVING := $(addprefix tests/test_,catcher.py challenges.py chains.py digest.py disorder.py docs.py events.py examples.py \
	guard.py local_ends.py naming.py oauth2.py peers.py resuming.py sessions.py typing.py unix_sockets.py unprocessed.py)
# Those that start programs of their own, threads, or a DNS server.
PROGRAMS := $(addprefix tests/test_,aio.py hub_thread.py interrupts.py kills.py names.py threads.py)
# Those that read the source or start processes of their own, or are of code without I/O: patching changes nothing there.
UNPATCHED := $(addprefix tests/test_,api.py decoding.py design.py docs.py error_documents.py errors.py examples.py habits.py \
	histogram.py hosts.py json.py masking.py messages.py option_types.py outcomes.py references.py request_queue.py \
	secret_names.py sentences.py typing.py wire.py)
FIRST := $(filter-out $(SERVING) $(PROGRAMS),$(wildcard tests/test_[a-f]*.py))
SECOND := $(filter-out $(SERVING) $(PROGRAMS),$(wildcard tests/test_[g-q]*.py))
THIRD := $(filter-out $(SERVING) $(PROGRAMS),$(wildcard tests/test_[r-z]*.py))
# By their paths, for with `source` each process looks through all files when it ends, which takes longer than a command.
COVERED := $(BIN)/coverage run --include="$(CURDIR)/napixclient/*"
TRACED := $(COVERED) -m pytest
TOGETHER := $(BIN)/python tests/together.py

test: $(VENV)/.installed-all,test
ifeq ($(ARGS),)
	$(BIN)/coverage erase
	$(TOGETHER) '$(TRACED) $(FIRST)' '$(TRACED) $(SECOND)' '$(TRACED) $(THIRD)'
else
	$(BIN)/python -m pytest $(ARGS)
	$(BIN)/python tests/patched.py $(ARGS)
endif

# Limits in seconds are laws only where nothing traces and nothing runs beside.
test-timed: $(VENV)/.installed-all,test
	$(TOGETHER) --alone '$(BIN)/python -m pytest -m timed --ignore=tests/cluster --ignore=tests/zaqar tests $(ARGS)'

test-faces: $(VENV)/.installed-all,test
	$(TOGETHER) '$(TRACED) tests/resources $(SERVING)' '$(TRACED) tests/rest tests/marconi tests/saga' '$(TRACED) $(PROGRAMS)'

# About half of the tests of the service, by what they take.
KEPT := $(wildcard tests/service/test_service_[k-l]*.py) $(addprefix tests/service/test_service_,access.py shared.py)
test-programs: $(VENV)/.installed-all,test
	$(TOGETHER) '$(TRACED) tests/cli' '$(TRACED) $(filter-out $(KEPT),$(wildcard tests/service/test_*.py))' \
		'$(TRACED) $(KEPT)'

# In virtual environments of its own, with what the pages say; ARGS names pages.
test-docs-reader: $(VENV)/.installed-all,test
	$(BIN)/python -m tests.reader $(ARGS)

# The service at full size: 10,000 requests killed half-way, and watched by 50.
test-service-full: $(VENV)/.installed-all,test
	FULL=1 $(BIN)/python -m pytest tests/service $(ARGS)

# Nothing is lost, doubled, or sent by the dead; on PostgreSQL where it is installed (Debian: postgresql).
test-chaos: $(VENV)/.installed-all,test
	$(BIN)/python -m tests.chaos $(ARGS)

# All of a saga is there, or nothing, or it is named, wherever its process is killed.
test-saga: $(VENV)/.installed-all,test
	$(BIN)/python -m tests.saga.kills $(ARGS)

# Of all that was traced since the last `make test` began, and of what nobody has imported.
coverage: $(VENV)/.installed-all,test
	$(BIN)/coverage run --source=napixclient -m napixclient --version
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

test-patched: $(VENV)/.installed-all,test
	$(TOGETHER) '$(BIN)/python tests/patched.py $(filter-out $(UNPATCHED),$(FIRST))' \
		'$(BIN)/python tests/patched.py $(filter-out $(UNPATCHED),$(SECOND))' '$(BIN)/python tests/patched.py $(PROGRAMS)'
	$(TOGETHER) '$(BIN)/python tests/patched.py $(filter-out $(UNPATCHED),$(SERVING))' \
		'$(BIN)/python tests/patched.py $(filter-out $(UNPATCHED),$(THIRD))'

# What stands on the library, patched.
test-faces-patched: $(VENV)/.installed-all,test
	$(TOGETHER) '$(BIN)/python tests/patched.py tests/resources' '$(BIN)/python tests/patched.py tests/rest tests/marconi' \
		'$(BIN)/python tests/patched.py tests/saga'

# Real workers, servers that count, and RabbitMQ, which the tests start themselves.
test-cluster: $(VENV)/.installed-all,test
	$(TOGETHER) '$(COVERED) tests/patched.py tests/cluster $(ARGS)'

# With Keystone and without side by side, for both wait more than they work: for tokens and for claims to expire. Each
# starts servers of its own.
ZAQAR := -o faulthandler_timeout=400 -rP $(ARGS)
test-zaqar: $(VENV)/.installed-all,test
	$(BIN)/python tests/zaqar/install.py
	$(TOGETHER) '$(BIN)/python tests/patched.py $(ZAQAR) tests/zaqar/test_keystone.py' \
		'$(BIN)/python -m pytest $(ZAQAR) $(filter-out %/test_keystone.py,$(wildcard tests/zaqar/test_*.py))'

# At least a round in an unpatched and one in a patched process; each begins with the seed to repeat it by.
fuzz: $(VENV)/.installed-all,test
	$(BIN)/python -m tests.fuzz $(ARGS)

# nginx, HAProxy, Apache and the rest in their real forms: installed where that can be done, and asked as a user would.
test-servers: $(VENV)/.installed-all,test
	$(BIN)/python -m tests.servers.install $(filter --quick,$(ARGS))
	$(BIN)/python -m tests.servers $(ARGS)

# Those of them that are quick.
test-servers-quick: $(VENV)/.installed-all,test
	$(MAKE) test-servers ARGS=--quick

soak: $(VENV)/.installed-all,test
	$(BIN)/python -m tests.soak $(ARGS)

soak-cluster: $(VENV)/.installed-all,test
	$(BIN)/python -m tests.cluster.siege
	$(BIN)/python -m tests.cluster.soak $(ARGS)

bench: $(VENV)/.installed-all,bench
	$(BIN)/python -m benchmarks $(ARGS)

docs: $(VENV)/.installed-all,docs
	$(BIN)/python -m sphinx -W --keep-going -j 2 docs docs/_build/html
	$(BIN)/python docs/links.py docs/_build/html

lint: $(VENV)/.installed-all,lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python .ci/exceptions.py
	$(BIN)/mypy
	$(BIN)/lint-imports
	PYTHONPATH=.:typings $(BIN)/basedpyright --pythonpath $(BIN)/python --verifytypes napixclient --ignoreexternal

clean:
	rm -rf $(VENV) .zaqar .servers .tox build dist *.egg-info docs/_build .coverage .coverage.* \
		.hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache *.log
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

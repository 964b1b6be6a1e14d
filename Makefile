# Every step of Tracekit as a target; bare `make` prints help and changes nothing.
# The meaning and the default of each variable stand in tracekit/settings.py; `make help` shows them.

.DEFAULT_GOAL := help
.SUFFIXES:

VARIABLES := RUN_ID NODE_ID STAGE VM_IP IFACE BW_BPS PROC_SAMPLING CONTAINER PROC_MATCH PROC_REFRESH \
             HOSTS CMD RAW N \
             PROC_INTERVAL_MS HOST_EXTRAS SCEN PORT WORKERS DEFAULT_NEXT_URL APP_ID MODULE_ID IMG BASE RATE DURATION \
             STRICT DIR JSON IN PEERS PEER_PORT ALIGN PARQUET \
             OPENDC TASKS CPU_MHZ TRACE IMPUTE \
             SOURCE TAG LOG_FORMAT NGINX_CONF ADAPT_OPTIONS \
             CORES NODES SLOTS POLICY DEMAND PARAMS TRAIN SIM FLOOR GATES

# What a user gives is text: make must not expand a "$(...)" in it, so each value is made literal before
# anything can. The tools read the values from their environment, never from a command line.
literal = $(eval override $1 := $$(value $1))$(eval export $1)
$(foreach name,$(VARIABLES),$(if $(filter undefined,$(origin $(name))),,$(call literal,$(name))))

typed := $(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),$(name)))
$(foreach name,$(filter-out $(VARIABLES) FULL,$(typed)),$(warning $(name) is no variable of Tracekit and does nothing))

PYTHON := .venv/bin/python -I

# Each target first refuses a bad variable, also under `make -n`.
.PHONY: check
check:
	+@python3 -I tools/settings.py check

## Print this help
.PHONY: help
help: check
	@printf 'Tracekit: collect on this VM, stop, parse, validate, show.\n\nTargets\n'
	@awk '/^## /{d=substr($$0,4);next} d&&/^[a-z][a-z -]*:/{sub(/:.*/,"");n=split($$0,names," ");\
	  for(i=1;i<=n;i++)printf "  make %-16s %s\n",names[i],d;d=""}' Makefile
	@awk '/^# Summary: /{name=FILENAME;gsub(/.*\/|\.py$$/,"",name);\
	  printf "  make %-16s %s\n","export-" name,substr($$0,12)}' tools/exporters/*.py
	@printf '\nVariables (command line, else environment, else run_id.env, else the default)\n'
	@python3 -I tools/settings.py table

## Set up, serve and drive the reference service on this machine, and show its trace
.PHONY: demo
demo: check
	@tools/setup.sh app
	@tools/setup.sh vegeta || true # which has said why; the demo does without
	@$(PYTHON) tools/demo.py

## Set up and run the tests
.PHONY: test
test: check
	@tools/setup.sh dev app perfetto sim
	@tools/setup.sh uplot || true # which has said why; its tests skip
	@$(PYTHON) -m pytest

## Run the tests that inject faults for real; FULL=1 at full length
.PHONY: test-faults
test-faults: check
	@tools/setup.sh dev app
	@$(PYTHON) -m pytest tests/faults

## Install what is missing: system packages, .venv with locked packages
.PHONY: setup
setup: check
	@tools/setup.sh
	@tools/setup.sh --check

## Say what is missing and the command that would install it; change nothing
.PHONY: doctor
doctor: check
	@tools/setup.sh --check

## Start the collectors of a run on this VM
.PHONY: start-collect
start-collect: check
	@bash tools/collect_sys.sh start

## Stop them, for certain
.PHONY: stop-collect
stop-collect: check
	@bash tools/collect_sys.sh stop

## Show each collector's state, rows and lag
.PHONY: status
status: check
	@bash tools/collect_sys.sh status

## Show a run while it is collected, live in the terminal; q ends it
.PHONY: top
top: check
	@python3 -I tools/top.py

## Normalise the raw files: logs/<RUN_ID>/ -> logs/<RUN_ID>/cctf/
.PHONY: parse
parse: check
	@python3 -I tools/parse_sys.py

## Merge the cctf of N nodes, IN, into unified_cctf/<RUN_ID>
.PHONY: merge
merge: check
	@if [ "$$(python3 -I tools/settings.py value PARQUET)" = 1 ]; then \
	  tools/setup.sh sim && $(PYTHON) tools/merge.py; else python3 -I tools/merge.py; fi

## Turn logs of SOURCE into invocations of the run: IN="access.log*"
.PHONY: adapt
adapt: check
	@python3 -I tools/adapt.py

## Check a cctf directory: records, hashes, order, laws, names; JSON=1 for programs
.PHONY: validate
validate: check
	@python3 -I tools/validate.py

## Show a cctf directory in the terminal
.PHONY: show
show: check
	@python3 -I tools/show.py

## Replay the run's requests on a model of its nodes and links: exports/replay/
.PHONY: replay
replay: check
	@tools/setup.sh
	@$(PYTHON) tools/replay.py

## Hold a simulation (SIM, else the replay) against the run: errors, gates, PASS or FAIL
.PHONY: verify
verify: check
	@tools/setup.sh $$([ -z "$$(python3 -I tools/settings.py value SIM)" ] || echo sim)
	@$(PYTHON) tools/verify.py

## Fit the replay's parameters on the runs TRAIN, and tell the error on RUN_ID
.PHONY: calibrate
calibrate: check
	@tools/setup.sh
	@$(PYTHON) tools/calibrate.py

## Make one page of a data set for the browser, that needs no network: report.html
.PHONY: report
report: check
	@tools/setup.sh uplot
	@$(PYTHON) tools/report.py

# An exporter is a file in tools/exporters/: it has a target, and its Summary is the help.
EXPORTS := $(patsubst tools/exporters/%.py,export-%,$(wildcard tools/exporters/*.py))
.PHONY: $(EXPORTS)
$(EXPORTS): export-%: check
	@tools/setup.sh tools/exporters/$*.py
	@$(PYTHON) tools/exporters/$*.py

## Build the image of the reference service: IMG, from BASE
.PHONY: build
build: check
	@tools/setup.sh
	@$(PYTHON) tools/service.py build

## Start the reference service in Docker, on VM_IP (else 127.0.0.1) and PORT
.PHONY: run
run: check
	@tools/setup.sh
	@$(PYTHON) tools/service.py run

## Start it without Docker; returns when the port answers
.PHONY: run-local
run-local: check
	@tools/setup.sh app
	@$(PYTHON) tools/service.py run-local

## End what run and run-local started; PORT= or RUN_ID= for some of it
.PHONY: stop
stop: check
	@tools/setup.sh
	@$(PYTHON) tools/service.py stop

## Push this checkout to every host of the inventory HOSTS, and set it up there
.PHONY: fleet-setup
fleet-setup: check
	@tools/setup.sh fleet
	@$(PYTHON) tools/fleet.py setup

## Start the collectors of every host of HOSTS at one second
.PHONY: fleet-start
fleet-start: check
	@tools/setup.sh fleet
	@$(PYTHON) tools/fleet.py start

## Stop them
.PHONY: fleet-stop
fleet-stop: check
	@tools/setup.sh fleet
	@$(PYTHON) tools/fleet.py stop

## Parse on every host, fetch, merge into unified_cctf/<RUN_ID>, validate
.PHONY: fleet-collect
fleet-collect: check
	@tools/setup.sh fleet
	@$(PYTHON) tools/fleet.py collect

## Set up and start the hosts of HOSTS, run the load CMD here, stop, collect: all in one
.PHONY: experiment
experiment: check
	@tools/setup.sh fleet
	@$(PYTHON) tools/fleet.py experiment

## The same with N hosts made on this machine, each with the reference service (root)
.PHONY: fleet-local
fleet-local: check
	@tools/setup.sh app fleet
	@tools/setup.sh vegeta || true # which has said why; a CMD of one's own does without
	@$(PYTHON) tools/fleet_local.py experiment

## Send RATE requests a second of this kind to the service at VM_IP, for DURATION; all: each in turn
.PHONY: real-json real-gzip real-hash real-kvset real-kvget real-all
real-json real-gzip real-hash real-kvset real-kvget real-all: check
	@tools/setup.sh vegeta
	@$(PYTHON) tools/load.py $(@:real-%=%)

## Remove logs/<RUN_ID>; RUN_ID must be given
.PHONY: clean
clean: check
	@python3 -I tools/clean_run.py

## Check the code: ruff, mypy, shellcheck, shfmt
.PHONY: lint
lint: check
	@tools/setup.sh dev app
	@tools/lint.sh

## Measure against peers; figures are ratios within one run
.PHONY: bench
bench: check
	@tools/setup.sh dev app bench bench-app vegeta
	@$(PYTHON) bench/run.py

## Measure what collecting costs, beside the peers there are (root; 10 minutes)
.PHONY: bench-collect
bench-collect: check
	@tools/setup.sh dev
	@$(PYTHON) bench/run.py collect

## Measure what tracing costs the service, beside OpenTelemetry
.PHONY: bench-app
bench-app: check
	@tools/setup.sh app bench-app vegeta
	@$(PYTHON) bench/run.py app

## Measure how near a replay comes to the reference service (3 minutes)
.PHONY: bench-accuracy
bench-accuracy: check
	@tools/setup.sh app vegeta
	@$(PYTHON) bench/run.py accuracy

## Measure parse against jq, DuckDB, Polars, stdlib json and wc
.PHONY: bench-parse
bench-parse: check
	@tools/setup.sh bench
	@$(PYTHON) bench/run.py parse

## Measure merge against GNU sort -m, json in memory and jq
.PHONY: bench-merge
bench-merge: check
	@tools/setup.sh
	@$(PYTHON) bench/run.py merge

## Measure the nginx adapter beside Polars, DuckDB, and goaccess where it is there
.PHONY: bench-adapters
bench-adapters: check
	@tools/setup.sh bench
	@$(PYTHON) bench/run.py adapters

## Write docs/schema/ anew from the records (for developers)
.PHONY: schema
schema: check
	@tools/setup.sh
	@$(PYTHON) tools/write_schemas.py

## Write the expected files of tests/golden/ anew; review the diff (for developers)
.PHONY: golden
golden: check
	@tools/setup.sh dev app
	@$(PYTHON) tests/write_golden.py

## Pin the newest packages that pyproject.toml allows (for developers)
.PHONY: lock
lock: check
	@tools/lock.sh

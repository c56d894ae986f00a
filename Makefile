# The commands of this repository. `make help` lists them.
# Nothing needs to be installed by hand but Go, npm and make.

SHELL := /bin/bash

cache := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/meterd
golangci := $(cache)/bin/golangci-lint@v2.15.0
gotestsum := $(cache)/bin/gotestsum@v1.13.0

version := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
ldflags := -s -w -X main.version=$(version)

# A checkout that belongs to another user has no version-control stamp to give.
export GOFLAGS := $(GOFLAGS) -buildvcs=false

.DEFAULT_GOAL := help
.PHONY: help setup build run test alerts race soak lint bench faults check

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Fetch what is missing: the ClickHouse library and redis-server
	@deploy/setup.sh

build: ## Build bin/meterd, one static binary
	CGO_ENABLED=0 go build -trimpath -ldflags '$(ldflags)' -o bin/meterd ./cmd/meterd

run: setup build ## Start the embedded system, meter the examples, write reports to out/
	@examples/run.sh

# Tells of each package as it ends, and of each failure again at the end. Without paths
# a build is good in any checkout; without debugging information it links in half the time.
gotest := $(gotestsum) --format pkgname -- -trimpath -ldflags=-w

# The race detector needs a C compiler, the product does not. What runs side by
# side in one process goes under it; commands, whole systems and what has one
# goroutine at work at a time (one) are tried as they are shipped, which takes half
# the time or less. `make race` has everything under it. Figures have the machine to
# themselves; of whole systems two run at a time, the longest first; tests of workers
# wait more than they compute, so four run at once. Go keeps results by what a test imports and opens, and knows nothing of a
# command that it builds or a script that it runs: so those always run (-count 1). A
# test that hangs is ended by testengine.Bound after four minutes; -timeout is for what
# starts no engine, and for a package as a whole: on a slow machine the raced ones take eight minutes.
one := TestMemoryAgreesWith|TestPublishedAndReadAgree|TestSimulationFindsWhatIsMissing
plain := ./cmd/... ./reports/... ./jobs/importer ./internal/phone ./examples/... ./deploy
raced := ./worker $$(go list ./... | grep -v -E '/worker$$|/(cmd|reports|importer|phone|examples|deploy|bench)(/|$$)')
systems := ./bench/faults $$(go list ./bench/... | grep -v -E '/bench/(faults|figures)$$')

test: $(gotestsum) ## Set up what is missing and run every test against the real engines
	@deploy/setup.sh --tests
	CGO_ENABLED=1 $(gotest) -race -p 2 -parallel 4 -timeout 20m -skip '$(one)' $(raced)
	CGO_ENABLED=0 $(gotest) -p 2 -count 1 -timeout 10m $(plain)
	CGO_ENABLED=0 $(gotest) -p 2 -timeout 10m -run 'TestSimulation$$|$(one)' ./worker ./metering/...
	CGO_ENABLED=0 $(gotest) -count 1 -timeout 10m ./bench/figures
	CGO_ENABLED=0 $(gotest) -p 2 -count 1 -timeout 20m $(systems)
	cd deploy/prometheus && CGO_ENABLED=0 $(gotest) ./...

# Prometheus's parser and engine are of a module of their own: see its doc.go.
alerts: ## Try the alerts on series as healthy and broken systems give them
	cd deploy/prometheus && go test ./...

race: $(gotestsum) ## Run every test under the race detector
	@deploy/setup.sh --tests
	CGO_ENABLED=1 $(gotest) -race -p 2 -timeout 30m ./...

SCHEDULES ?= 1000000
soak: ## Run SCHEDULES schedules of the simulated protocol (default a million)
	METERD_SIM_SCHEDULES=$(SCHEDULES) go test ./worker -run 'TestSimulation$$' -v -timeout 0

lint: $(golangci) ## Check style and the rules of .golangci.yml
	$(golangci) run ./...
	cd deploy/prometheus && $(golangci) run ./...

$(golangci): module := github.com/golangci/golangci-lint/v2/cmd/golangci-lint
$(gotestsum): module := gotest.tools/gotestsum

# A tool is built beside its place, so that half of one is never run.
$(golangci) $(gotestsum):
	@mkdir -p $(@D)/build-$(@F)
	GOBIN=$(@D)/build-$(@F) GOFLAGS= go install $(module)@$(lastword $(subst @, ,$(@F)))
	@mv $(@D)/build-$(@F)/$(notdir $(module)) $@ && rmdir $(@D)/build-$(@F)

bench: setup build ## Run the benchmarks; they end with the table of the published figures
	go test -run '^$$' -bench . -benchmem ./...
	bin/meterd bench

faults: ## Run the fault suite in its long form and write docs/reliability.md
	@deploy/setup.sh --tests
	go run ./bench/faults -out docs/reliability.md

check: lint test ## What continuous integration runs

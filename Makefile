# Everything is started from here; .ci/run does the same as "make check".

FUZZTIME ?= 10s
BENCH    ?= .
BENCHTIME ?= 1s
SEEDS    ?= 100000
GO       ?= go

# Every module of the repository, by directory. The linters' own is not tested.
NESTED  := $(patsubst %/go.mod,%,$(wildcard internal/integration/go.mod demo/go.mod benchmarks/go.mod))
MODULES := . $(NESTED)
LINTER  := $(GO) tool -modfile=$(CURDIR)/tools/go.mod golangci-lint

# $(call each,modules,command) runs a command in every module and stops at the first failure.
each = @set -e; for m in $(1); do echo "== $$m: $(2)"; (cd $$m && $(2)); done

.PHONY: help
help: ## show this
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*## /\1\t/' | expand -t 10

.PHONY: check
check: lint test histories fuzz ## what CI runs

.PHONY: test
test: servers ## all tests with the race detector, against real servers
	$(call each,$(MODULES),$(GO) test -race -count=1 ./...)

.PHONY: servers
servers: ## install what the tests need, if this is Debian and we may
	@.ci/install

.PHONY: lint
lint: ## gofmt, go vet, golangci-lint, go mod tidy
	@bad=$$(gofmt -l .); test -z "$$bad" || { echo "gofmt would change:"; echo "$$bad"; exit 1; }
	$(call each,$(MODULES),$(GO) vet ./...)
	$(call each,$(MODULES),$(LINTER) run ./...)
	$(call each,$(MODULES) tools,$(GO) mod tidy -diff)

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME
	@GO='$(GO)' .ci/fuzz $(FUZZTIME)

.PHONY: histories
histories: ## SEEDS interleavings of calls and deletes in fake time, each checked
	cd internal/integration && $(GO) test -count=1 -run='^TestHistoriesInBubbles$$' -v . -args -seeds=$(SEEDS)

.PHONY: bench
bench: ## benchmarks; BENCH=regexp, BENCHTIME=1s
	$(call each,$(MODULES),$(GO) test -run='^$$' -bench='$(BENCH)' -benchtime=$(BENCHTIME) -benchmem ./...)

.PHONY: demo
demo: servers ## the stampede, live
	cd demo && $(GO) run .

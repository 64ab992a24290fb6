# Everything that is done to this tree, each by one command. `./...` stops at module borders, so targets loop over modules.txt.

SHELL       := /bin/bash
.SHELLFLAGS := -o pipefail -c
MODULES     := $(shell cat modules.txt)
FUZZTIME    ?= 30s
VULNDB      ?=
GENERATED   := -name '*.pb.go' -o -name '*.pb.gw.go'

# Modules are built as their users build them, each from its own go.mod. go.work serves editors and `go run ./examples/...`.
export GOWORK := off

tool    = go tool -modfile=$(CURDIR)/tools/go.mod $(1)
buf     = go tool -modfile=$(CURDIR)/tools/buf/go.mod buf
modules = @set -e; for module in $(MODULES); do echo "-- $$module"; (cd "$$module" && $(1)); done

.PHONY: all
all: generate test lint vuln ## Generate, test, lint and look for known vulnerabilities

.PHONY: help
help: ## Show this help
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "%-14s %s\n", $$1, $$2}' Makefile

.PHONY: test
test: ## Test all modules with the race detector, in random order
	$(call modules,go test -race -shuffle=on -timeout 5m ./...)

.PHONY: canary
canary: ## Run all tests once more, and end where a decision shows the credential of its call
	$(call modules,go test -tags grpcauth_canary -timeout 5m ./...)

# go.mod asks for the release of grpc-gateway before the newest, so that users need not follow at once; the newest has to work too.
.PHONY: newest
newest: ## Test the gateway with the newest release of grpc-gateway that the examples use
	@set -e; cd gateway; mod=$$(mktemp -d)/go.mod; trap 'rm -rf "$$(dirname "$$mod")"' EXIT; cp go.mod go.sum "$$(dirname "$$mod")"; \
	version=$$(cd ../examples && go list -m -f '{{.Version}}' github.com/grpc-ecosystem/grpc-gateway/v2); echo "-- gateway with $$version"; \
	go get -modfile="$$mod" "github.com/grpc-ecosystem/grpc-gateway/v2@$$version" && \
	go test -modfile="$$mod" -race -shuffle=on -timeout 5m ./...

.PHONY: lint
lint: breaking ## Check Go, protos and go.mod files
	$(buf) lint
	$(buf) format --diff --exit-code
	$(call modules,go mod tidy -diff && $(call tool,golangci-lint) run --config $(CURDIR)/.golangci.yml ./...)

.PHONY: generate
generate: ## Generate Go from the protos
	$(buf) generate

.PHONY: checkgenerate
checkgenerate: ## Fail if generating would change a file
	@sums() { find "$$1" \( $(GENERATED) \) -printf '%P\n' | sort | (cd "$$1" && xargs -r sha256sum); }; \
	fresh=$$(mktemp -d) && trap 'rm -rf "$$fresh"' EXIT && \
	$(buf) generate --output "$$fresh" && \
	diff <(sums .) <(sums "$$fresh") || { echo 'generated code differs from the protos: run make generate' >&2; exit 1; }

# A release copies its protos to testdata/released, where a review sees what is promised from then on.
.PHONY: breaking
breaking: ## Fail if a public proto breaks who uses that of the last release
	$(buf) breaking proto --against testdata/released

.PHONY: vuln
vuln: ## Look for known vulnerabilities; VULNDB=DIR reads the database from a folder instead of the network
	$(call modules,$(call tool,govulncheck) $(if $(VULNDB),-db file://$(abspath $(VULNDB))) ./...)

.PHONY: fuzz
fuzz: ## Fuzz each target for FUZZTIME (30s)
	$(call modules,$(CURDIR)/.ci/fuzz $(FUZZTIME))

.PHONY: bench
bench: ## Measure against peers; GRPCAUTH_BENCH=strict fails where a bound does not hold
	cd benchmarks && GRPCAUTH_BENCH=$(or $(GRPCAUTH_BENCH),full) go test -run '^TestTable$$' -v -count=1 -timeout 30m .

.PHONY: quickstart
quickstart: ## Run the first example
	GOWORK=$(CURDIR)/go.work go run ./examples/quickstart

.PHONY: interop
interop: ## Call a Go server from grpc-js
	./internal/interop/run

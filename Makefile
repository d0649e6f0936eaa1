# make help lists what there is.
SHELL := /bin/bash
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION)
LINT := go tool -modfile=tools/go.mod golangci-lint
export PATH := $(PATH):/usr/local/go/bin

.DEFAULT_GOAL := help
.PHONY: help build up down wipe test check lint bench fault fuzz model test-clients test-gophercloud test-tempest compatibility clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 20

build: ## bin/kilonova and bin/tempest-lite
	@mkdir -p bin
	CGO_ENABLED=1 go build -trimpath -ldflags "$(LDFLAGS)" -o bin/kilonova ./cmd/kilonova
	CGO_ENABLED=0 go build -trimpath -ldflags "$(LDFLAGS)" -o bin/tempest-lite ./cmd/tempest-lite

up: ## a whole cloud on this machine, with a guest that runs
	@scripts/up.sh

down: ## stop the cloud; its data stays
	@scripts/down.sh

wipe: ## remove the cloud with its guests and data
	@scripts/wipe.sh

test: ## every test, installing what it needs: SQLite, MariaDB, real guests, race detector
	@scripts/test.sh

check: lint ## the quick loop: vet, lint, tests on SQLite and the simulator
	go test -short ./...

lint: ## go vet and golangci-lint
	go vet ./...
	$(LINT) run ./...

bench: build ## figures: latency, throughput, memory, polling, on SQLite and MariaDB
	@scripts/bench.sh

fault: build ## a minute of kill -9 on SQLite, one on MariaDB, and one with a hostile host, and power cuts
	@scripts/fault.sh

fuzz: ## each fuzz target for FUZZ_SECONDS (20)
	@scripts/fuzz.sh

model: ## random sequences against the state table for long: COUNT (100000; a tenth on MariaDB), SEED
	@scripts/model.sh

test-clients: build ## both openstack clients against the simulator
	@tests/clients/run.sh

test-gophercloud: build ## gophercloud's acceptance tests against the simulator
	@scripts/gophercloud.sh

test-tempest: build ## Tempest against the simulator
	@scripts/tempest.sh

compatibility: build ## docs/compatibility.md: what tempest-lite finds of kilonova
	@scripts/compatibility.sh

clean: ## remove what was built and downloaded (not the state of a cloud)
	rm -rf bin .cache

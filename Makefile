# `make test` is what the checks run; everything else is a part of it or a convenience.
SHELL := /bin/bash
.DEFAULT_GOAL := help

BIN     := $(CURDIR)/.bin
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)
# Everything but the tests that start whole processes.
UNIT     = $(shell go list ./... | grep -v -e '/e2e' -e '/bench')
# The length of a fuzzing run, for each target.
FUZZTIME ?= 60s
# Compose as a part of docker, or as the program of its own that Debian has.
COMPOSE  ?= $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose)

.PHONY: help build demo test unit race integration e2e e2e-race browser conformance bench fuzz cover lint fmt tidy generate tools containers validate image up down clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build the binary into .bin/mcphub
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/mcphub ./cmd/mcphub

demo: build ## run a whole small cluster in one process and print what to open
	$(BIN)/mcphub demo

test: ## everything the checks run, installing what is missing (ten to twenty minutes)
	@test/check.sh

unit: ## unit tests, on loopback only, in under a minute
	go test -shuffle=on $(UNIT)

race: ## unit tests under the race detector
	go test -race -shuffle=on $(UNIT)

integration: ## the store's contract and the migrations on a real redis-server
	REQUIRE_REDIS=1 go test -race -count=1 ./store/... ./migrations/...

e2e: tools ## the real binary: three coordinators, three nodes, Redis, real servers and clients
	REQUIRE_REDIS=1 REQUIRE_NPM=1 go test -count=1 -timeout 15m ./e2e ./e2e/harness

e2e-race: tools ## the same with every mcphub process under the race detector
	REQUIRE_REDIS=1 REQUIRE_NPM=1 E2E_RACE=1 go test -count=1 -timeout 25m ./e2e

browser: tools ## the status page in a real browser
	@test/install.sh chromium
	REQUIRE_BROWSER=1 go test -count=1 -timeout 10m ./e2e/browser

conformance: tools ## the official conformance suite through the hub, beside the same server direct
	REQUIRE_REDIS=1 REQUIRE_NPM=1 go test -count=1 -timeout 10m -v ./e2e/conformance

bench: ## measure the hub beside direct, ReverseProxy and nginx; writes docs/performance.md
	@test/install.sh redis nginx
	go run ./bench -o docs/performance.md

fuzz: ## fuzz each target for FUZZTIME
	@test/fuzz.sh $(FUZZTIME)

cover: ## unit test coverage, as coverage.html
	go test -coverprofile=coverage.out $(UNIT)
	go tool cover -func=coverage.out | tail -1
	go tool cover -html=coverage.out -o coverage.html

lint: ## golangci-lint
	@test/install.sh lint
	$(BIN)/golangci-lint run --allow-parallel-runners ./...

fmt: ## format the Go code
	gofmt -w $$(git ls-files '*.go')

tidy: ## go mod tidy
	go mod tidy

generate: ## rewrite the generated files
	go generate ./...

tools: ## install what the tests need: redis-server, node, npm packages
	@test/install.sh redis npm

containers: ## the container tests, in an engine of their own
	test/containers/run.sh

validate: ## check everything in deploy/ offline: schemas, chart, compose file, alerts, board
	@test/install.sh deploy
	cd test/deploy && REQUIRE_DEPLOY=1 go test -count=1 ./...

image: ## build the images mcphub:local and mcphub-node:local
	docker build --target coordinator --build-arg VERSION=$(VERSION) -t mcphub:local .
	docker build --target node --build-arg VERSION=$(VERSION) -t mcphub-node:local .

up: ## a hub in containers: Redis, three coordinators behind a balancer, three nodes
	@cd deploy/compose && [ -f .env ] || (umask 077; printf 'MCPHUB_CLUSTER_SECRET=%s\nMCPHUB_ADMIN_TOKEN=%s\n' "$$(openssl rand -hex 32)" "$$(openssl rand -hex 32)" > .env)
	cd deploy/compose && VERSION=$(VERSION) $(COMPOSE) up -d --build

down: ## end what "make up" has started; its data stays
	cd deploy/compose && $(COMPOSE) down

clean: ## remove what was built and fetched
	rm -rf $(BIN) e2e/npm/node_modules e2e/artifacts coverage.*

# `make` lists what there is to make.

SHELL := /bin/bash
.DEFAULT_GOAL := help

export PATH := $(CURDIR)/.tools/bin:$(PATH):$(shell go env GOPATH 2>/dev/null)/bin

# How long go test may take for one package, and what else it is told: make test TESTFLAGS='-run TestResume -count=5'
TIMEOUT ?= 15m
TESTFLAGS ?=
# make soak DURATION=1h
DURATION ?= 10m
CRASHES ?= 5000
# How many inputs each fuzz test tries, or how long it runs
FUZZTIME ?= 3000x

.PHONY: help
help: ## list the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: ## build and run Projects: make run ARGS='--simulate --listen 127.0.0.1:9000'
	@scripts/deps.sh run
	@$(MAKE) --no-print-directory build
	@exec bin/projects serve $(ARGS)

.PHONY: serve
serve: ## build and run Trunkline's server alone: make serve ARGS='--listen 127.0.0.1:9000'
	@scripts/deps.sh run
	@$(MAKE) --no-print-directory build
	@exec bin/trunkline serve $(ARGS)

.PHONY: build
build: page ## build the page, bin/trunkline and bin/projects
	@mkdir -p bin
	CGO_ENABLED=0 go build -trimpath -o bin/ ./cmd/trunkline ./cmd/projects

.PHONY: page
page: ## build the page of Projects into web/dist, if it has changed
	@scripts/page.sh

.PHONY: test
test: ## check everything: what is missing is installed first
	@scripts/deps.sh test
	@$(MAKE) --no-print-directory page lint vuln
	cd web && node_modules/.bin/vitest run
	go test -race -timeout $(TIMEOUT) $(TESTFLAGS) ./...
	@$(MAKE) --no-print-directory majors browsers

.PHONY: browsers
browsers: build ## test Projects with several people in Chromium, directly and through nginx
	cd e2e && node --test --test-concurrency=2 projects/*.test.js

.PHONY: screenshots
screenshots: build ## make the pictures of the README anew
	cd e2e && SCREENSHOTS=$(CURDIR)/docs/images node --test --test-name-pattern='pictures of the README' projects/pages.test.js

.PHONY: fuzz
fuzz: ## look for inputs that break something, beyond those that make test tries: make fuzz FUZZTIME=1m
	@scripts/fuzz.sh $(FUZZTIME)

.PHONY: majors
majors: ## test the engine and its SQL on the oldest and the newest PostgreSQL, where they were fetched
	@for major in 14 18; do \
		bin=$(CURDIR)/.tools/pg/$$major/bin; \
		[ -d $$bin ] || { echo "PostgreSQL $$major is not in .tools: left out"; continue; }; \
		echo "on PostgreSQL $$major, with properties tried less often:"; \
		TRUNKLINE_TEST_PG_BIN=$$bin go test -short -timeout $(TIMEOUT) . ./schema || exit 1; \
	done

.PHONY: lint
lint: ## gofmt, go vet, golangci-lint, and eslint, prettier and the type checkers for e2e and web
	@files=$$(git ls-files --cached --others --exclude-standard '*.go' | while read -r f; do [ ! -e "$$f" ] || echo "$$f"; done | xargs gofmt -l); \
		[ -z "$$files" ] || { echo "not formatted (make fmt does it):"; echo "$$files"; exit 1; }
	go vet ./...
	golangci-lint run
	@[ -d e2e/node_modules ] || { echo "e2e/node_modules is missing: scripts/deps.sh test installs it"; exit 1; }
	cd e2e && node_modules/.bin/eslint --max-warnings=0 . && node_modules/.bin/tsc
	@[ -d web/node_modules ] || { echo "web/node_modules is missing: scripts/deps.sh test installs it"; exit 1; }
	cd web && npm run --silent lint

.PHONY: vuln
vuln: ## look for known vulnerabilities in what is called
	@scripts/vuln.sh

.PHONY: soak
soak: ## try to break the guarantees for long: make soak DURATION=1h CRASHES=5000
	go test ./internal/checker -run '^TestChecker$$' -count=1 -checker.duration=$(DURATION) -checker.nodes=3 -timeout 0 -v
	go test ./digest -run '^TestCrashes$$' -count=1 -digest.crashes=$(CRASHES) -timeout 0 -v

.PHONY: bench
bench: build ## measure this machine: make bench ARGS='…'
	bin/trunkline bench $(ARGS)

.PHONY: fmt
fmt: ## format the Go code
	golangci-lint fmt

.PHONY: clean
clean: ## remove what was built; the tools in .tools stay
	rm -rf bin dist web/dist/assets web/dist/index.html

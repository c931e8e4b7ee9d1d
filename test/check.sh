#!/usr/bin/env bash
# check.sh [STAGE...]: everything a change must pass, or only the named stages. Installs
# what is missing, runs every stage even after one has failed, and ends with a summary.
set -uo pipefail
cd "$(dirname "$0")/.."

all=(install format vet lint unit e2e browser conformance fuzz generated deploy tidy)
stages=("$@")
[ $# -gt 0 ] || stages=("${all[@]}")
declare -a summary
failed=0
began=$SECONDS

# Without a C compiler there is no race detector; the summary says so.
race=-race
# Where the Go tool stamps versions from git, a checkout owned by another user stops the build.
export GOFLAGS="${GOFLAGS:-} -buildvcs=false"

unit_packages() { go list ./... | grep -v -e '/e2e' -e '/bench'; }

stage_install() {
	test/install.sh redis npm lint chromium || return 1
	test/install.sh cc || echo "no C compiler: unit tests run without the race detector"
}

stage_format() {
	local bad
	bad=$(git ls-files '*.go' | xargs gofmt -l)
	[ -z "$bad" ] || { echo "not formatted (make fmt):"; echo "$bad"; return 1; }
}

stage_vet() { go vet ./...; }

stage_lint() { .bin/golangci-lint run --allow-parallel-runners ./...; }

# The store's contract runs here too, on the embedded server and on a real one.
stage_unit() {
	command -v gcc >/dev/null || race=
	# shellcheck disable=SC2046,SC2086
	REQUIRE_REDIS=1 go test $race -shuffle=on -count=1 $(unit_packages)
}

stage_e2e() { REQUIRE_REDIS=1 REQUIRE_NPM=1 go test -count=1 -timeout 15m ./e2e ./e2e/harness; }

stage_browser() { REQUIRE_BROWSER=1 go test -count=1 -timeout 10m ./e2e/browser; }

stage_conformance() { REQUIRE_REDIS=1 REQUIRE_NPM=1 go test -count=1 -timeout 10m -v ./e2e/conformance; }

stage_fuzz() { test/fuzz.sh 10s; }

# Generating again must change nothing, whatever the tree looked like before.
stage_generated() {
	local before after
	before=$(tree_state)
	go generate ./... || return 1
	after=$(tree_state)
	[ "$before" = "$after" ] || { echo "generated files are out of date (make generate):"; git status --short; return 1; }
}

tree_state() { { git diff; git ls-files -o --exclude-standard; } | sha256sum; }

# Manifests, chart, compose file, alerts and board, with tools that are built the first time.
stage_deploy() {
	test/install.sh deploy || return 1
	(cd test/deploy && go vet ./... && REQUIRE_DEPLOY=1 go test -count=1 ./...)
}

# The nested modules follow the main one: a requirement that it gains is missing from theirs.
stage_tidy() {
	local dir failed=0
	for dir in . test/containers test/deploy; do
		(cd $dir && go mod tidy -diff) || { echo "go mod tidy is needed in $dir"; failed=1; }
	done
	return $failed
}

for name in "${stages[@]}"; do
	printf '\n=== %s\n' "$name"
	start=$SECONDS
	if "stage_$name"; then verdict=pass; else verdict=FAIL failed=$((failed + 1)); fi
	summary+=("$(printf '%-12s %-4s %4d s' "$name" "$verdict" $((SECONDS - start)))")
done

printf '\n=== summary\n'
printf '%s\n' "${summary[@]}"
if [ "$failed" = 0 ]; then
	echo "all ${#stages[@]} stages passed in $((SECONDS - began)) s"
else
	echo "$failed of ${#stages[@]} stages FAILED ($((SECONDS - began)) s)"
	exit 1
fi

#!/usr/bin/env bash
# fuzz.sh DURATION: run every fuzz target of the module for DURATION each.
# A crasher is left by Go in the package's testdata/fuzz, where it stays as a test.
# When the time is up in the middle of something, the fuzzer may call that a failure ("context deadline
# exceeded"). It is none: a real one leaves its input.
set -euo pipefail
cd "$(dirname "$0")/.."
duration=${1:?usage: fuzz.sh DURATION, such as 10s}

built=$(mktemp -d)
trap 'rm -rf "$built"' EXIT
cache=$(go env GOCACHE)/fuzz

# Each package is built once, with what guides the fuzzing in it, and not for each target anew.
targets=0 failed=0
while read -r dir; do
	go test -c -fuzz=. -o "$built/fuzz.test" "$dir"
	package=$(go list "$dir")
	for target in $(grep -hoE '^func Fuzz[A-Za-z0-9_]+' "$dir"/*_test.go | sed 's/^func //' | sort -u); do
		targets=$((targets + 1))
		printf '%-28s %-32s ' "${dir#./}" "$target"
		if out=$(cd "$dir" && "$built/fuzz.test" -test.run='^$' -test.fuzz="^$target\$" -test.fuzztime="$duration" \
			-test.fuzzminimizetime=50x -test.fuzzcachedir="$cache/$package" 2>&1) ||
			{ grep -q 'context deadline exceeded' <<<"$out" && ! grep -q 'Failing input\|seed corpus entry\|panic' <<<"$out"; }; then
			grep -oE 'execs: [0-9]+' <<<"$out" | tail -1 || echo 'no more than the corpus'
		else
			failed=$((failed + 1))
			echo FAILED
			echo "$out"
		fi
	done
done < <(grep -rlE '^func Fuzz' --include='*_test.go' . | xargs -r -n1 dirname | sort -u)

echo "$targets fuzz targets, $failed failed"
[ "$failed" = 0 ]

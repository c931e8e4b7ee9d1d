#!/usr/bin/env bash
# fuzz.sh DURATION: run every fuzz target of the module for DURATION each.
# A crasher is left by Go in the package's testdata/fuzz, where it stays as a test.
# Minimizing is bounded, since go test reports a failure ("context deadline exceeded") when the
# time is up in the middle of it.
set -euo pipefail
cd "$(dirname "$0")/.."
duration=${1:?usage: fuzz.sh DURATION, such as 10s}

targets=0 failed=0
while read -r dir; do
	for target in $(grep -hoE '^func Fuzz[A-Za-z0-9_]+' "$dir"/*_test.go | sed 's/^func //' | sort -u); do
		targets=$((targets + 1))
		printf '%-28s %-32s ' "${dir#./}" "$target"
		if out=$(go test -run='^$' -fuzz="^$target\$" -fuzztime="$duration" -fuzzminimizetime=50x "$dir" 2>&1); then
			grep -oE 'execs: [0-9]+' <<<"$out" | tail -1
		else
			failed=$((failed + 1))
			echo FAILED
			echo "$out"
		fi
	done
done < <(grep -rlE '^func Fuzz' --include='*_test.go' . | xargs -r -n1 dirname | sort -u)

echo "$targets fuzz targets, $failed failed"
[ "$failed" = 0 ]

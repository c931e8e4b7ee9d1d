#!/usr/bin/env bash
# run.sh [go test arguments]: the container tests. With the engine that answers, if one does; else
# with a private one (root only; installs docker.io and redis-server where they are missing) and an
# image made from the installed redis-server. Prints SKIPPED and the reason where neither can
# be had; with REQUIRE_DOCKER=1 that is a failure.
set -euo pipefail
cd "$(dirname "$0")"

skip() {
  echo "SKIPPED container tests: $1"
  [ "${REQUIRE_DOCKER:-}" != 1 ] || exit 1
  exit 0
}

if [ "${1:-}" = --inside ]; then # in the private engine's namespace
  shift
  ./redis-image.sh "$TEST_REDIS_IMAGE"
  exec go test -count=1 "$@" ./...
fi

if docker version >/dev/null 2>&1; then
  REQUIRE_DOCKER=1 exec go test -count=1 "$@" ./...
fi
[ "$(id -u)" = 0 ] || skip "no Docker engine answers, and a private one needs root"
missing=()
command -v dockerd >/dev/null || missing+=(docker.io)
command -v redis-server >/dev/null || missing+=(redis-server)
command -v ip >/dev/null || missing+=(iproute2)
command -v iptables >/dev/null || missing+=(iptables)
if [ ${#missing[@]} -gt 0 ]; then
  command -v apt-get >/dev/null || skip "missing ${missing[*]}, and no apt-get to install them"
  { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"; } \
    >/tmp/mcphub-apt.$$ 2>&1 || { tail -n 5 /tmp/mcphub-apt.$$ >&2; rm -f /tmp/mcphub-apt.$$; skip "cannot install ${missing[*]}"; }
  rm -f /tmp/mcphub-apt.$$
fi
go test -count=1 -run '^$' ./... >/dev/null # fetch and compile while there is a network
./with-docker.sh true || skip "a private Docker engine does not start here"
export REQUIRE_DOCKER=1 TEST_REDIS_IMAGE=local/redis:debian
exec ./with-docker.sh ./run.sh --inside "$@"

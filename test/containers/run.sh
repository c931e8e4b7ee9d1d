#!/usr/bin/env bash
# run.sh [go test arguments]: the container tests. With the engine that answers, if one does, and
# images from their registries; else with a private engine (root only; installs what is missing) and
# images made from what is installed here. Prints SKIPPED and the reason where neither can be had;
# with REQUIRE_DOCKER=1 that is a failure.
set -euo pipefail
cd "$(dirname "$0")"

skip() {
  echo "SKIPPED container tests: $1"
  [ "${REQUIRE_DOCKER:-}" != 1 ] || exit 1
  exit 0
}

if [ "${1:-}" = --inside ]; then # in the private engine's namespace
  shift
  ./standin.sh redis redis:7.4-alpine
  ./standin.sh haproxy haproxy:3.0-alpine
  ./standin.sh golang golang:1.26-alpine
  ./standin.sh node node:22-bookworm-slim
  exec go test -count=1 -timeout 20m "$@" ./...
fi

if docker version >/dev/null 2>&1; then
  REQUIRE_DOCKER=1 exec go test -count=1 -timeout 20m "$@" ./...
fi
[ "$(id -u)" = 0 ] || skip "no Docker engine answers, and a private one needs root"
missing=()
while read -r program package; do
  command -v "$program" >/dev/null || [ -x "/usr/sbin/$program" ] || missing+=("$package")
done <<'LIST'
dockerd docker.io
docker-compose docker-compose
redis-server redis-server
haproxy haproxy
ip iproute2
iptables iptables
LIST
if [ ${#missing[@]} -gt 0 ]; then
  command -v apt-get >/dev/null || skip "missing ${missing[*]}, and no apt-get to install them"
  { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"; } \
    >/tmp/mcphub-apt.$$ 2>&1 || { tail -n 5 /tmp/mcphub-apt.$$ >&2; rm -f /tmp/mcphub-apt.$$; skip "cannot install ${missing[*]}"; }
  rm -f /tmp/mcphub-apt.$$
fi
# Everything that needs a network comes first: inside there is none.
../install.sh npm || skip "cannot install the npm packages of e2e"
go test -count=1 -run '^$' ./... >/dev/null
./with-docker.sh true || skip "a private Docker engine does not start here"
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
# This tree as a clone has it, with its modules beside it, which the Dockerfile then uses.
(cd ../.. && git ls-files -z --cached --others --exclude-standard | xargs -0 ls -d 2>/dev/null | tar -c -T - | tar -x -C "$tree")
(cd "$tree" && go mod vendor)
REQUIRE_DOCKER=1 TEST_TREE=$tree PATH=$PATH:/usr/sbin:/sbin ./with-docker.sh ./run.sh --inside "$@"

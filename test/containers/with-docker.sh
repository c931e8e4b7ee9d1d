#!/usr/bin/env bash
# with-docker.sh CMD... : run CMD with a private Docker engine, in a network namespace of its
# own; both go away afterwards. Needs root, dockerd and ip. Published ports exist only inside the
# namespace, which is where CMD runs; it reaches nothing outside.
set -euo pipefail
work=$(mktemp -d)
ns=mcphub-docker-$$
ip netns add "$ns"
# nsenter, not "ip netns exec": that mounts a new /sys and hides the cgroups.
enter=(nsenter "--net=/run/netns/$ns")
"${enter[@]}" ip link set lo up
"${enter[@]}" env PATH=/usr/sbin:/usr/bin:/sbin:/bin dockerd \
  --data-root "$work/root" --exec-root "$work/exec" --pidfile "$work/d.pid" \
  --host "unix://$work/d.sock" >"$work/dockerd.log" 2>&1 &
pid=$!
cleanup() {
  kill "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
  ip netns del "$ns" || true
  rm -rf "$work"
}
trap cleanup EXIT
export DOCKER_HOST="unix://$work/d.sock" TESTCONTAINERS_RYUK_DISABLED=true
for _ in $(seq 300); do
  docker version >/dev/null 2>&1 && break
  if ! kill -0 "$pid" 2>/dev/null; then
    tail -n 20 "$work/dockerd.log" >&2
    exit 1
  fi
  sleep 0.1
done
"${enter[@]}" "$@"

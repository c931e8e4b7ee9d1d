#!/usr/bin/env bash
# standin.sh KIND IMAGE: make IMAGE out of what is installed on this machine, for machines that
# reach no image registry. Needs a running engine. KIND is
#   redis     redis-server and redis-cli, as user 999
#   haproxy   haproxy, with the official image's command, as user 99
#   golang    the Go toolchain and a shell, to build in
#   node      Node.js with npm, npx and a shell; the MCP servers of e2e/npm lie where npx finds them
#             without a registry
set -euo pipefail
cd "$(dirname "$0")/../.."
kind=$1 image=$2
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root/etc" "$root/bin" "$root/usr/bin"
install -d -m 1777 "$root/tmp"
echo 'root:x:0:0::/root:/bin/sh' >"$root/etc/passwd"
echo 'root:x:0:' >"$root/etc/group"
changes=()

# programs PATH...: the programs and the libraries they load.
programs() {
  local file
  for file in "$@"; do install -D "$(readlink -f "$file")" "$root$file"; done
  ldd "$@" | awk '$2 == "=>" { print $3 } $1 ~ /^\/lib/ { print $1 }' | sort -u |
    while read -r file; do install -D "$(readlink -f "$file")" "$root$file"; done
}

# shell: what RUN lines and shell scripts need.
shell() {
  local name
  for name in sh cp mkdir; do programs "/bin/$name"; done
  programs /usr/bin/env
}

case $kind in
redis)
  programs "$(command -v redis-server)" "$(command -v redis-cli)"
  echo 'redis:x:999:999::/data:/' >>"$root/etc/passwd"
  install -d -o 999 -g 999 "$root/data"
  # No shell: testcontainers would look for the port with programs that are not here.
  changes=(-c 'CMD ["redis-server","--bind","0.0.0.0","--protected-mode","no","--save",""]'
    -c 'ENV PATH=/usr/bin:/bin' -c 'EXPOSE 6379' -c 'USER 999:999' -c 'WORKDIR /data')
  ;;
haproxy)
  programs "$(command -v haproxy)"
  echo 'haproxy:x:99:99::/:/' >>"$root/etc/passwd"
  changes=(-c 'CMD ["haproxy","-W","-db","-f","/usr/local/etc/haproxy/haproxy.cfg"]' -c 'USER 99:99'
    -c 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin')
  ;;
golang)
  goroot=$(go env GOROOT)
  shell
  install -D -m 644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
  mkdir -p "$root/usr/local/go" "$root/root"
  tar -C "$goroot" -c --exclude=./test --exclude=./doc --exclude=./api . | tar -C "$root/usr/local/go" -x
  changes=(-c 'ENV PATH=/usr/local/go/bin:/usr/bin:/bin GOTOOLCHAIN=local')
  ;;
node)
  shell
  programs "$(readlink -f "$(command -v node)")"
  mkdir -p "$root/usr/lib/node_modules" "$root/node_modules"
  [ -e "$root/usr/bin/node" ] || ln -s "$(readlink -f "$(command -v node)")" "$root/usr/bin/node"
  cp -r "$(dirname "$(readlink -f "$(command -v npm)")")/.." "$root/usr/lib/node_modules/npm"
  ln -s ../lib/node_modules/npm/bin/npm-cli.js "$root/usr/bin/npm"
  ln -s ../lib/node_modules/npm/bin/npx-cli.js "$root/usr/bin/npx"
  # npx looks in the folders above the one it is run in before it asks the registry.
  cp e2e/npm/package.json "$root/"
  tar -C e2e/npm/node_modules -c --exclude='./node-linux-*' --exclude='./playwright*' . | tar -C "$root/node_modules" -x
  changes=(-c 'ENV PATH=/usr/local/bin:/usr/bin:/bin')
  ;;
*)
  echo "standin.sh: unknown: $kind" >&2
  exit 2
  ;;
esac
tar -C "$root" -c . | docker import "${changes[@]}" - "$image" >/dev/null

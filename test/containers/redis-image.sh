#!/usr/bin/env bash
# redis-image.sh NAME : make the image NAME out of the installed redis-server package, for machines
# that reach no image registry. Needs a running engine.
set -euo pipefail
name=$1
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root/usr/bin" "$root/etc" "$root/data" "$root/tmp"
cp -L "$(command -v redis-server)" "$(command -v redis-cli)" "$root/usr/bin/"
ldd "$root/usr/bin/redis-server" "$root/usr/bin/redis-cli" |
  awk '$2 == "=>" { print $3 } $1 ~ /^\/lib/ { print $1 }' | sort -u |
  while read -r lib; do install -D "$(readlink -f "$lib")" "$root$lib"; done
echo 'redis:x:999:999::/data:/' >"$root/etc/passwd"
chown 999:999 "$root/data"
chmod 1777 "$root/tmp"
tar -C "$root" -c . | docker import \
  -c 'ENTRYPOINT ["/usr/bin/redis-server"]' \
  -c 'CMD ["--bind","0.0.0.0","--protected-mode","no","--dir","/data","--save",""]' \
  -c 'EXPOSE 6379' -c 'USER 999:999' -c 'WORKDIR /data' - "$name"

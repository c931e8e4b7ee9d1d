#!/usr/bin/env bash
# install.sh WHAT...: install what is missing of: redis nginx cc npm lint deploy chromium.
# Prints a line for each thing it installs and nothing for what is there.
# Debian packages need root; elsewhere it says what to install by hand.
set -euo pipefail
cd "$(dirname "$0")/.."

# The one place where the versions of tools stand.
lint_version=v2.15.0
helm_version=v3.22.0
kustomize_version=v5.7.1
kubeconform_version=v0.8.0
# The Kubernetes that helm renders for, where nothing says otherwise.
kubernetes_minor=36

apt_updated=
apt() {
	if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
		echo "install.sh: please install $* (not root on Debian, so not done here)" >&2
		return 1
	fi
	if [ -z "$apt_updated" ]; then
		apt-get update -qq >/dev/null
		apt_updated=1
	fi
	echo "installing Debian packages: $*"
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

have_lint() {
	[ -x .bin/golangci-lint ] && .bin/golangci-lint version 2>/dev/null | grep -q "${lint_version#v}"
}

npm_current() { # the packages of the lockfile are what is installed
	[ -f e2e/npm/node_modules/.installed ] && cmp -s e2e/npm/package-lock.json e2e/npm/node_modules/.installed
}

# tool NAME VERSION PACKAGE [go install arguments]: built into .bin, unless that very version is there.
tool() {
	local name=$1 version=$2 package=$3
	shift 3
	[ -x ".bin/$name" ] && [ "$(cat ".bin/$name.version" 2>/dev/null)" = "$version" ] && return
	echo "building $name $version"
	GOBIN="$PWD/.bin" GOFLAGS= go install "$@" "$package@$version"
	echo "$version" >".bin/$name.version"
}

for what in "$@"; do
	case $what in
	redis) command -v redis-server >/dev/null && command -v redis-cli >/dev/null || apt redis-server ;;
	nginx) command -v nginx >/dev/null || apt nginx-light ;;
	chromium) command -v "${CHROMIUM:-chromium}" >/dev/null || apt chromium ;;
	cc) command -v gcc >/dev/null || apt gcc libc6-dev ;; # the race detector links with it
	npm)
		command -v npm >/dev/null || apt nodejs npm
		if ! npm_current; then
			echo "installing npm packages of e2e/npm"
			(cd e2e/npm && npm ci --no-audit --no-fund --loglevel=error)
			cp e2e/npm/package-lock.json e2e/npm/node_modules/.installed
		fi
		;;
	lint)
		if ! have_lint; then
			echo "building golangci-lint $lint_version (about two minutes, once)"
			GOBIN="$PWD/.bin" GOFLAGS= go install "github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$lint_version"
		fi
		;;
	deploy)
		command -v nginx >/dev/null || apt nginx-light
		command -v haproxy >/dev/null || apt haproxy
		tool kubeconform "$kubeconform_version" github.com/yannh/kubeconform/cmd/kubeconform
		tool kustomize "$kustomize_version" sigs.k8s.io/kustomize/kustomize/v5
		# As its own Makefile does: without these helm takes itself for one of Kubernetes 1.20.
		helm=helm.sh/helm/v3
		flags=
		for p in pkg/chartutil pkg/lint/rules; do
			flags+=" -X $helm/$p.k8sVersionMajor=1 -X $helm/$p.k8sVersionMinor=$kubernetes_minor"
		done
		tool helm "$helm_version" $helm/cmd/helm -ldflags "-s -w$flags"
		;;
	*)
		echo "install.sh: unknown: $what" >&2
		exit 2
		;;
	esac
done

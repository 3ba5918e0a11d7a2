#!/bin/bash
# Builds the server's image from this checkout.
#
#   deploy/image/build.sh [NAME]          NAME: carousel:dev if not given
#
#   ENGINE=docker|podman|buildah          the first that works here if not given
#   BASE_IMAGE=NAME                       another base with Python 3.11 and its venv module
#
# pip in the build reaches what pip reaches here: the index, proxies and certificates that this machine's pip is configured
# with are handed over as secrets, which stay out of the image and of its history.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

name="${1:-carousel:dev}"
engine="${ENGINE:-}"
usable() { # A docker command alone is not enough: it needs its daemon and BuildKit.
    command -v "$1" >/dev/null || return 1
    [[ $1 != docker ]] || { docker buildx version && timeout 10 docker info; } >/dev/null 2>&1
}
if [[ -z $engine ]]; then
    for candidate in docker podman buildah; do
        if usable "$candidate"; then
            engine="$candidate"
            break
        fi
    done
fi
if [[ -z $engine ]]; then
    echo "No usable docker (with buildx), podman or buildah was found; install one (Debian: apt-get install buildah)." >&2
    exit 1
fi
if [[ ! -f models/python/manifest.json ]]; then
    echo "models/python holds no model; the image ships it. Check it out, or train one." >&2
    exit 1
fi

secrets="$(mktemp -d)"
trap 'rm -rf "$secrets"' EXIT
touch "$secrets/pip_conf" "$secrets/certificates"

# Of pip's configuration, what an address outside this machine can follow; its folders are not in the build.
pip_setting() {
    local from_environment="PIP_${1^^}"
    from_environment="${from_environment//-/_}"
    if [[ -n ${!from_environment:-} ]]; then
        printf '%s' "${!from_environment}"
    else
        python3 -m pip config get "global.$1" 2>/dev/null || true
    fi
}
{
    echo "[global]"
    for setting in index-url extra-index-url trusted-host proxy; do
        value=""
        for part in $(pip_setting "$setting"); do
            [[ $part == file:* ]] || value+=" $part"
        done
        [[ -z $value ]] || echo "$setting =$value"
    done
} >"$secrets/pip_conf"

certificates="$(pip_setting cert)"
certificates="${certificates:-${SSL_CERT_FILE:-}}"
if [[ -n $certificates && -f $certificates ]]; then
    cp "$certificates" "$secrets/certificates"
fi

build=(
    --file Dockerfile
    --tag "$name"
    --label "org.opencontainers.image.version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' service/__init__.py)"
    --label "org.opencontainers.image.revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)"
    --secret "id=pip_conf,src=$secrets/pip_conf"
    --secret "id=certificates,src=$secrets/certificates"
)
[[ -z ${BASE_IMAGE:-} ]] || build+=(--build-arg "BASE_IMAGE=$BASE_IMAGE")

echo "building $name with $engine"
case "$engine" in
docker) DOCKER_BUILDKIT=1 docker build "${build[@]}" . ;;
podman) podman build --format docker "${build[@]}" . ;;
buildah) buildah build --format docker --layers "${build[@]}" . ;;
*)
    echo "ENGINE=$engine is none of docker, podman, buildah" >&2
    exit 1
    ;;
esac

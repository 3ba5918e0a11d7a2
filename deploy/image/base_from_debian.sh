#!/bin/bash
# Makes a base image for the Dockerfile from Debian's own packages, where no image registry can be reached.
#
#   deploy/image/base_from_debian.sh [NAME]      NAME: localhost/python:3.11 if not given
#   BASE_IMAGE=localhost/python:3.11 ENGINE=buildah deploy/image/build.sh
#
# Wants buildah and mmdebstrap, and root. With an image of that name already there, it does nothing.
set -euo pipefail

name="${1:-localhost/python:3.11}"
if buildah inspect --type image "$name" >/dev/null 2>&1; then
    exit 0
fi
folder="$(mktemp -d)"
container=""
clean_up() {
    [[ -z $container ]] || buildah rm "$container" >/dev/null
    rm -rf "$folder"
}
trap clean_up EXIT

echo "making $name from Debian 12"
mmdebstrap --quiet --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$folder/base.tar"
container="$(buildah from scratch)"
buildah add --quiet "$container" "$folder/base.tar" / >/dev/null
buildah config --cmd '["python3"]' --env LANG=C.UTF-8 "$container"
buildah commit --quiet --format docker "$container" "$name" >/dev/null

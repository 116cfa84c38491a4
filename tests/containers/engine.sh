#!/usr/bin/env bash
# A Docker engine, and Python's base image, for a Debian machine that has neither an engine nor a
# registry. Needs root and Debian's packages.
#   engine.sh start        install and start dockerd; print the variables that lead to it
#   engine.sh base 3.13    make python:3.13-slim out of Debian's packages, unless the engine has it
#   engine.sh stop         stop this dockerd
set -euo pipefail
folder=${ENGINE_FOLDER:-/var/tmp/runmeter-engine}
export DOCKER_HOST=unix://$folder/docker.sock DOCKER_BUILDKIT=0

install() {
  dpkg --status "$@" >/dev/null 2>&1 && return
  local apt=(apt-get install --yes --quiet=2 --no-install-recommends)
  export DEBIAN_FRONTEND=noninteractive
  "${apt[@]}" "$@" >/dev/null 2>&1 || { apt-get update --quiet=2 && "${apt[@]}" "$@"; } >&2
}

start() {
  install docker.io docker-compose iptables
  mkdir -p "$folder"
  if ! docker version >/dev/null 2>&1; then
    # cgroupfs: without systemd; a network of its own: the usual one may be in use
    setsid nohup dockerd --host "$DOCKER_HOST" --data-root "$folder/data" --exec-root "$folder/run" \
      --pidfile "$folder/pid" --bip 10.98.0.1/24 --exec-opt native.cgroupdriver=cgroupfs \
      >"$folder/log" 2>&1 </dev/null &
    for _ in {1..300}; do
      docker version >/dev/null 2>&1 && break
      sleep 0.1
    done
    docker version >/dev/null || { tail --lines=20 "$folder/log" >&2; exit 1; }
  fi
  echo "export DOCKER_HOST=$DOCKER_HOST DOCKER_BUILDKIT=0"
}

base() {
  local image=python:$1-slim release
  case $1 in
    3.11) release=bookworm ;;
    3.13) release=trixie ;;
    *) echo "no release of Debian has Python $1" >&2; exit 2 ;;
  esac
  docker image inspect "$image" >/dev/null 2>&1 && return
  install mmdebstrap debian-archive-keyring
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  local mirror
  mirror=$(awk '/^URIs:/ { print $2; exit }' /etc/apt/sources.list.d/*.sources)
  mmdebstrap --quiet --variant=apt --include=ca-certificates,python3,python3-venv \
    --aptopt='APT::Install-Recommends "false"' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' "$release" "$work/root.tar" "$mirror" >&2
  docker import "$work/root.tar" "debian-python:$release" >/dev/null
  rm "$work/root.tar"
  mkdir "$work/certificates" # those that this machine trusts beyond Debian's
  cp /usr/local/share/ca-certificates/*.crt "$work/certificates" 2>/dev/null || true
  cat >"$work/Dockerfile" <<END
FROM debian-python:$release
COPY certificates/ /usr/local/share/ca-certificates/
RUN update-ca-certificates && rm /usr/lib/python3*/EXTERNALLY-MANAGED && python3 -m venv /usr/local && ln --symbolic --force python3 /usr/local/bin/python
ENV LANG=C.UTF-8 SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt PIP_CERT=/etc/ssl/certs/ca-certificates.crt
CMD ["python3"]
END
  docker build --network=host --quiet --tag "$image" "$work" >/dev/null
}

case ${1:-} in
  start) start ;;
  base) base "${2:?a version of Python}" ;;
  stop) kill "$(cat "$folder/pid")" ;;
  *) sed -n 's/^#   //p' "$0" >&2; exit 2 ;;
esac

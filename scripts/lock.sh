#!/usr/bin/env bash
# Resolve the dependencies anew: four lock files with hashes, for Python 3.11 to 3.13 on any
# platform, and without the address of a registry in them. Read the difference before you commit it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if ! command -v uv >/dev/null; then
  [ -x .venv-lock/bin/uv ] || {
    "${PYTHON:-python3}" -m venv .venv-lock
    .venv-lock/bin/python -m pip install -q uv
  }
  PATH=$PWD/.venv-lock/bin:$PATH
fi

compile() {
  uv pip compile -q --upgrade --python-version 3.11 --universal --generate-hashes \
    --no-header --no-annotate "${@:2}" -o "$1"
  echo "$1: $(grep -c '^[a-z]' "$1") packages"
}

compile requirements.lock pyproject.toml
# the tools are chosen around the runtime, so that both locks agree on every package they share
compile requirements-dev.lock --extra dev --constraint requirements.lock pyproject.toml
# the peers that benchmarks measure against, around the runtime as well
runtime=$(mktemp)
awk '/^[a-z]/ { own = /^setuptools==/ } !own' requirements.lock >"$runtime"
compile requirements-bench.lock --extra bench --constraint "$runtime" pyproject.toml
rm "$runtime"
compile requirements-lab.lock requirements-lab.in
if grep -nE '://' requirements*.lock; then
  echo 'a lock file names an address: see above' >&2
  exit 1
fi

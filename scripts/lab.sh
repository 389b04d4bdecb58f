#!/usr/bin/env bash
# JupyterLab on the notebooks; more words are passed on to it (make lab ARGS=--no-browser).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

options=(--ServerApp.root_dir="$PWD" --LabApp.default_url=/lab/tree/notebooks)
if [ "$(id -u)" = 0 ]; then
  options+=(--allow-root)
fi
exec .venv-lab/bin/jupyter-lab "${options[@]}" "$@"

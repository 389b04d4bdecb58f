#!/usr/bin/env bash
# Everything a fresh Debian or Ubuntu with Python, git and make still lacks.
#
#   scripts/setup.sh runtime   .venv as requirements.lock pins it, and a browser for the PDF
#   scripts/setup.sh test      the same with the tools of requirements-dev.lock
#   scripts/setup.sh lab       JupyterLab in .venv-lab, whose kernel is the one of .venv
#
# PYTHON=python3.12    the interpreter to use (3.11, 3.12 or 3.13)
# SYSTEM=no            install no system package and no browser; only say what is missing
#
# Done again it is instant: what was installed is remembered by content, not by time. Packages come
# from wherever the user's own pip is configured to look.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

# ---- what the system must provide ---------------------------------------------------------------

on_debian() { command -v apt-get >/dev/null; }

may_install() {
  [ "${SYSTEM:-yes}" != no ] || return 1
  [ "$(id -u)" = 0 ] || { command -v sudo >/dev/null && sudo -n true 2>/dev/null; }
}

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }

sudo_word() { [ "$(id -u)" = 0 ] || printf 'sudo '; }

apt_command() { printf '%sapt-get install --no-install-recommends %s' "$(sudo_word)" "$*"; }

apt_install() {
  on_debian && may_install || return 1
  say "installing $* with apt-get"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 update >&2 || true
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=120 \
    install --no-install-recommends "$@" >/dev/null
}

right_version() {
  "$1" -c 'import sys; raise SystemExit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null
}

find_python() {
  local candidate
  for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    if command -v "$candidate" >/dev/null && right_version "$candidate"; then
      command -v "$candidate"
      return
    fi
  done
  if [ -n "${PYTHON:-}" ]; then
    fail "PYTHON=$PYTHON is no Python 3.11, 3.12 or 3.13"
  fi
  fail "Python 3.11, 3.12 or 3.13 is needed: $(apt_command python3 python3-venv)"
}

# LightGBM's wheel uses the system's OpenMP.
need_openmp() {
  [ "$(uname -s)" = Linux ] || return 0
  .venv/bin/python -c 'import ctypes; ctypes.CDLL("libgomp.so.1")' 2>/dev/null && return
  apt_install libgomp1 || fail "LightGBM needs libgomp.so.1: $(apt_command libgomp1)"
}

# The search of quant50lib/adapters/pdf.py, in its order.
find_browser() {
  local place name
  if [ -n "${QUANT50_CHROMIUM:-}" ]; then
    printf '%s\n' "$QUANT50_CHROMIUM"
    return
  fi
  place=${PLAYWRIGHT_BROWSERS_PATH:-${XDG_CACHE_HOME:-$HOME/.cache}/ms-playwright}
  for name in "$place"/chromium*/INSTALLATION_COMPLETE; do
    if [ -e "$name" ]; then
      dirname "$name"
      return
    fi
  done
  for name in chromium-headless-shell chromium chromium-browser google-chrome \
    google-chrome-stable microsoft-edge msedge; do
    command -v "$name" && return
  done
  return 1
}

debian_browser='chromium-headless-shell fonts-dejavu-core'

# Debian packages a browser without desktop parts; elsewhere playwright fetches its own.
install_browser() {
  local with_deps=()
  # shellcheck disable=SC1091  # a file of the system
  if [ "$(. /etc/os-release 2>/dev/null && printf %s "${ID:-}")" = debian ]; then
    # shellcheck disable=SC2086  # two packages
    apt_install $debian_browser && find_browser >/dev/null && return
  fi
  may_install && on_debian && with_deps=(--with-deps)
  say "fetching a Chromium with playwright"
  .venv/bin/playwright install "${with_deps[@]}" --only-shell chromium >/dev/null 2>&1 || true
  find_browser >/dev/null
}

# A browser is wished for, not needed: without one the day ends with HTML. One try per environment.
want_browser() {
  local tried=.venv/quant50-no-browser
  if find_browser >/dev/null; then
    rm -f "$tried"
    return
  fi
  if [ "${SYSTEM:-yes}" != no ] && [ ! -e "$tried" ] && install_browser; then
    return
  fi
  touch "$tried"
  if on_debian; then
    say "no browser for the PDF (reports will be HTML); to get one: $(apt_command "$debian_browser")"
  else
    say "no browser for the PDF (reports will be HTML); to get one: .venv/bin/playwright install --with-deps chromium"
  fi
}

# ---- environments -------------------------------------------------------------------------------

# What an environment was made from: its place, its interpreter, the lock and the project's file.
print_of() {
  printf '%s\n' "$PWD"
  [ -x "$1/bin/python" ] && "$1/bin/python" -V
  cat "$2" pyproject.toml scripts/setup.sh | sha256sum
}

is_made() { [ -e "$1/$3" ] && [ "$(print_of "$1" "$2")" = "$(cat "$1/$3")" ]; }

# Its interpreter works, is the one that was asked for, and the checkout was not moved.
is_usable() {
  "$1/bin/python" -m pip --version >/dev/null 2>&1 || return 1
  [ -z "${PYTHON:-}" ] || [ "$("$1/bin/python" -V)" = "$("$2" -V)" ] || return 1
  grep -qsF "$PWD/$1" "$1/bin/activate"
}

make_environment() {
  local folder=$1 python package
  python=$(find_python)
  is_usable "$folder" "$python" && return
  rm -rf "$folder"
  say "making $folder with $("$python" -V)"
  if ! "$python" -m venv "$folder" >/dev/null 2>&1; then
    rm -rf "$folder"
    package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    apt_install "$package" || fail "Python's venv module is missing: $(apt_command "$package")"
    "$python" -m venv "$folder"
  fi
}

pip_in() { "$1/bin/python" -m pip --disable-pip-version-check "${@:2}"; }

install_lock() {
  local folder=$1 lock=$2
  say "installing the packages of $lock into $folder (a minute or two)"
  pip_in "$folder" install -qq --require-hashes --no-deps -r "$lock"
}

runtime() {
  local lock=$1 stamp=$2
  if ! is_made .venv "$lock" "$stamp" || { [ -n "${PYTHON:-}" ] && ! is_usable .venv "$PYTHON"; }; then
    make_environment .venv
    install_lock .venv "$lock"
    pip_in .venv install -qq --no-deps --no-build-isolation -e .
    print_of .venv "$lock" >".venv/$stamp"
  fi
  need_openmp
  want_browser
}

lab() {
  runtime requirements.lock quant50-runtime
  is_made .venv-lab requirements-lab.lock quant50-lab && return
  make_environment .venv-lab
  install_lock .venv-lab requirements-lab.lock
  .venv/bin/python -m ipykernel install --prefix .venv-lab --name python3 \
    --display-name "Quant50" >/dev/null
  print_of .venv-lab requirements-lab.lock >.venv-lab/quant50-lab
}

case "${1:-}" in
  runtime)
    # the tools of the tests include the runtime, package by package
    if is_made .venv requirements-dev.lock quant50-test; then
      runtime requirements-dev.lock quant50-test
    else
      runtime requirements.lock quant50-runtime
    fi
    ;;
  test) runtime requirements-dev.lock quant50-test ;;
  lab) lab ;;
  *) fail "say runtime, test or lab" ;;
esac

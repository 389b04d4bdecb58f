#!/usr/bin/env bash
# Everything a fresh Debian or Ubuntu with Python, git and make still lacks.
#
#   scripts/setup.sh runtime   .venv as requirements.lock pins it, and a browser for the PDF
#   scripts/setup.sh test      the same with the tools of requirements-dev.lock
#   scripts/setup.sh lab       JupyterLab in .venv-lab, whose kernel is the one of .venv
#   scripts/setup.sh bench     .venv-bench: the runtime with the peers that benchmarks measure against
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

# The packages of Debian that this machine lacks, one a line. $1 is the interpreter.
lacking() {
  loads() { "$python" -c "import ctypes; ctypes.CDLL('$1')" 2>/dev/null; }
  local python=$1
  [ -d .venv ] || "$python" -c 'import ensurepip' 2>/dev/null ||
    "$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'
  if [ "$(uname -s)" = Linux ]; then
    loads libgomp.so.1 || echo libgomp1     # LightGBM
    loads libatomic.so.1 || echo libatomic1 # playwright's driver
  fi
  if is_debian && ! find_browser >/dev/null; then
    printf '%s\n' chromium-headless-shell fonts-dejavu-core
  fi
}

# Debian packages a browser without desktop parts; Ubuntu and others have playwright's own.
# shellcheck disable=SC1091  # a file of the system
is_debian() { [ "$(. /etc/os-release 2>/dev/null && printf %s "${ID:-}")" = debian ]; }

# Install what is lacking, all at once; the same list is tried once per environment.
mend_system() {
  local tried=.venv/quant50-lacking packages
  packages=$(lacking "$1" | paste -sd ' ')
  if [ -n "$packages" ] && [ "$packages" != "$(cat "$tried" 2>/dev/null)" ]; then
    # shellcheck disable=SC2086  # a list of packages
    apt_install $packages || true
  fi
  [ ! -d .venv ] || printf '%s' "$packages" >"$tried"
}

# Say the one command for what is lacking still. Without a browser or its driver the day ends with
# HTML; the rest is needed.
need_system() {
  local packages
  packages=$(lacking "$1" | paste -sd ' ')
  case $packages in
    '') ;;
    *-venv* | *libgomp1*) fail "this machine lacks what is needed: $(apt_command "$packages")" ;;
    *) [ ! -d .venv ] || say "reports will be HTML, without a PDF, until: $(apt_command "$packages")" ;;
  esac
}

# Where the system has no package of a browser, or may not be changed, playwright fetches its own.
want_browser() {
  local tried=.venv/quant50-no-browser with_deps=()
  if find_browser >/dev/null || [ "${SYSTEM:-yes}" = no ]; then
    return
  fi
  if [ ! -e "$tried" ]; then
    may_install && on_debian && with_deps=(--with-deps)
    say "fetching a Chromium for the PDF with playwright"
    .venv/bin/playwright install "${with_deps[@]}" --only-shell chromium >/dev/null 2>&1 || true
    find_browser >/dev/null && return
    touch "$tried"
  fi
  is_debian || say "no browser for the PDF (reports will be HTML), until: .venv/bin/playwright install --with-deps chromium"
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
  local folder=$1 python
  python=$(find_python)
  is_usable "$folder" "$python" && return
  rm -rf "$folder"
  mend_system "$python"
  need_system "$python"
  say "making $folder with $("$python" -V)"
  "$python" -m venv "$folder"
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
  mend_system .venv/bin/python
  want_browser
  need_system .venv/bin/python
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

bench() {
  is_made .venv-bench requirements-bench.lock quant50-bench && return
  make_environment .venv-bench
  install_lock .venv-bench requirements-bench.lock
  pip_in .venv-bench install -qq --no-deps --no-build-isolation -e .
  print_of .venv-bench requirements-bench.lock >.venv-bench/quant50-bench
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
  bench) bench ;;
  *) fail "say runtime, test, lab or bench" ;;
esac

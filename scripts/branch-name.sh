#!/usr/bin/env bash
# A branch says what it is for: feature/<module>, fix/<bug> or chore/<task>.
#
#   scripts/branch-name.sh feature/optimise-names
set -euo pipefail

name=${1:?say the branch}
if [[ ! $name =~ ^(feature|fix|chore)/[a-z0-9]+([._-][a-z0-9]+)*$ ]]; then
  echo "branch '$name': name it feature/<module>, fix/<bug> or chore/<task>, in lower case" >&2
  exit 1
fi

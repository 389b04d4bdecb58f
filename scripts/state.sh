#!/usr/bin/env bash
# The desk's state between jobs on machines that are thrown away: the branch `desk-state`.
#
#   scripts/state.sh restore FOLDER   check the branch out into FOLDER, which becomes QUANT50_HOME
#   scripts/state.sh save FOLDER      commit what changed there and push it
#
# The branch holds the ledger, the journal of orders, the twin's account, the models and every run;
# each job adds a commit and none is ever forced. What cannot be read is never taken for empty, and
# what cannot be pushed fails the job: the ledger is not lost in silence. The store of bars is not
# in it (it can be fetched anew, and would outgrow git); the workflows keep it in a cache.
#
# STATE_TOKEN, if set, is the token for fetch and push; it is written nowhere.
set -euo pipefail

action=${1:?say restore or save}
folder=${2:?say the folder}
remote=${STATE_REMOTE:-origin}
branch=desk-state

if [ -n "${STATE_TOKEN:-}" ]; then
  basic=$(printf 'x-access-token:%s' "$STATE_TOKEN" | base64 | tr -d '\n')
  export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=http.extraheader
  export GIT_CONFIG_VALUE_0="AUTHORIZATION: basic $basic"
fi
export GIT_TERMINAL_PROMPT=0
export GIT_AUTHOR_NAME=quant50 GIT_AUTHOR_EMAIL=quant50@localhost
export GIT_COMMITTER_NAME=$GIT_AUTHOR_NAME GIT_COMMITTER_EMAIL=$GIT_AUTHOR_EMAIL

# A first commit with nothing in it but what git is to leave alone.
begin() {
  local ignored tree
  ignored=$(printf '%s\n' '/data/market.duckdb*' '/data/api/' '*.lock' '*.tmp' '*.part' '.env' |
    git hash-object -w --stdin)
  tree=$(printf '100644 blob %s\t.gitignore\n' "$ignored" | git mktree)
  git commit-tree "$tree" -m 'The desk begins'
}

restore() {
  local code=0 start
  git ls-remote --exit-code --heads "$remote" "$branch" >/dev/null || code=$?
  case $code in
    0)
      git fetch --quiet --no-tags --depth 1 "$remote" "$branch"
      start=$(git rev-parse FETCH_HEAD)
      ;;
    2) start=$(begin) ;; # the remote answers, and has no such branch
    *)
      echo "cannot ask $remote for $branch: the state is unknown, so nothing is begun" >&2
      exit "$code"
      ;;
  esac
  git worktree add --quiet --detach "$folder" "$start"
  git -C "$folder" log -1 --format='state: %s (%cI)'
}

save() {
  local newest
  git -C "$folder" add --all
  if git -C "$folder" diff --cached --quiet; then
    echo 'state: nothing changed'
    return
  fi
  newest=$(cd "$folder/runs" 2>/dev/null && find . -maxdepth 1 -name '????-??-??-*' -printf '%f\n' |
    sort | tail -n 1) || true
  git -C "$folder" commit --quiet -m "State after ${newest:-a job without a run}"
  git -C "$folder" push --quiet "$remote" "HEAD:refs/heads/$branch"
  git -C "$folder" log -1 --format='state saved: %s'
}

case $action in
  restore) restore ;;
  save) save ;;
  *)
    echo "say restore or save" >&2
    exit 2
    ;;
esac

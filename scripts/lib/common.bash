# Sourced by the scripts: how they speak, and how they ask for what is missing.

# say TEXT…: one line of progress on stderr; stdout belongs to results.
say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

die() {
  say "$*"
  exit 1
}

# with_progress TEXT COMMAND…: runs COMMAND, and says every 15 s that it still runs; its output is shown when it fails.
with_progress() {
  local text=$1 log started=$SECONDS ticker status=0
  shift
  log=$(mktemp)
  say "$text …"
  # The ticker must not outlive this function nor hold our pipes and locks: somebody may wait for their end.
  (
    trap 'kill "$nap"; exit' TERM
    while sleep 15 >/dev/null 2>&1 & nap=$!; wait "$nap"; do say "$text … $((SECONDS - started)) s"; done
  ) >/dev/null 8>&- 9>&- &
  ticker=$!
  "$@" >"$log" 2>&1 || status=$?
  kill "$ticker" 2>/dev/null
  wait "$ticker" 2>/dev/null || true
  if ((status == 0)); then
    say "$text: done in $((SECONDS - started)) s"
  else
    tail -n 40 "$log" >&2
  fi
  rm -f "$log"
  return "$status"
}

# on_debian_as_root: whether this script may install packages here.
on_debian_as_root() { [[ $EUID == 0 ]] && command -v apt-get >/dev/null; }

# need PROGRAM PACKAGE: installs PACKAGE when it may, else collects what is missing for `missing_or_die`.
missing=()
need() {
  command -v "$1" >/dev/null && return
  if on_debian_as_root; then
    with_progress "installing $2 (for $1)" apt_install "$2" || true
  fi
  command -v "$1" >/dev/null || missing+=("$1 (Debian package: $2)")
}

apt_install() {
  local DEBIAN_FRONTEND=noninteractive
  export DEBIAN_FRONTEND
  apt-get install -y --no-install-recommends "$@" || { apt-get update && apt-get install -y --no-install-recommends "$@"; }
}

missing_or_die() {
  ((${#missing[@]} == 0)) && return
  say "missing on this machine, please install:"
  printf '  - %s\n' "${missing[@]}" >&2
  exit 1
}

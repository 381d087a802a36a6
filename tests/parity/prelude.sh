# Put before each row. $NS is the row's namespace (one per way, names of equal length); the working directory is the way's own.
set -e

# wait_for FILE PATTERN: until a line of FILE matches, at most 20 s.
wait_for() {
  tries=0
  until grep -q -e "$2" "$1" 2>/dev/null; do
    tries=$((tries + 1))
    if [ "$tries" -gt 400 ]; then
      echo "never saw '$2' in $1:" && cat "$1"
      exit 99
    fi
    sleep 0.05
  done >&2
}

# expect CODE COMMAND…: the command must end with this code.
expect() {
  wanted=$1
  shift
  code=0
  "$@" || code=$?
  echo "exit code $code"
  [ "$code" = "$wanted" ] || exit 98
}

# end_of PID: ends a background command and says how it took it.
end_of() {
  kill -TERM "$1"
  code=0
  wait "$1" 2>/dev/null || code=$?
  echo "ended with $code"
}

# on_terminal SCRIPT: runs it on a pseudo-terminal (util-linux script) of 30 × 100; what it shows is in $terminal as well.
terminal=terminal.log
on_terminal() {
  : >"$terminal"
  # In a file: script writes its command into its log, where nobody must mistake it for output.
  printf 'stty rows 30 cols 100\n%s\n' "$1" >on-terminal.sh
  code=0
  script -qefc "sh on-terminal.sh" "$terminal" >/dev/null || code=$?
  # script adds a first and a last line of its own.
  sed '/^Script \(started\|done\)/d' "$terminal"
  echo "exit code $code"
}

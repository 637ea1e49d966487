# Sourced by every script of this folder: where things are, how a script speaks and how it stops.
# shellcheck shell=bash
set -euo pipefail

VM=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PORT=$(dirname "$VM")
REPO=$(dirname "$PORT")
CACHE=${SVMLAB_VM_CACHE:-$REPO/target/vm}
SUITE=${SUITE:-sid}
export VM PORT REPO CACHE SUITE

# One line on what cannot go on and what would help; nothing else is printed.
die() {
	printf '%s: %s\n' "$(basename "$0")" "$*" >&2
	exit 2
}

# The same, of something that this machine does not have and cannot get now: a package archive, a program. Exit status 3.
unavailable() {
	printf '%s: %s\n' "$(basename "$0")" "$*" >&2
	exit 3
}

say() { printf '%s\n' "$*"; }

# need COMMAND PACKAGE WHAT-FOR
need() {
	command -v "$1" >/dev/null || die "$1 is missing ($3); on Debian: apt-get install $2"
}

# timed LABEL COMMAND...: runs it and says how long it took. (No `||` around it: that would turn `set -e` off inside.)
timed() {
	local label=$1 start
	shift
	start=$(date +%s%N)
	"$@"
	printf '  %-28s %6.1f s\n' "$label" "$(($(date +%s%N) - start))e-9"
}

# The help of a script is the comment at its head.
help() {
	sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' "$0"
	exit 0
}

# One process at a time works on the cache; the lock is held until the script ends.
lock_cache() {
	need flock util-linux "the cache is locked while a script works on it"
	mkdir -p "$CACHE" 2>/dev/null || die "cannot write the cache folder $CACHE; name another with SVMLAB_VM_CACHE"
	exec 9>"$CACHE/lock"
	flock -n 9 || {
		say "waiting for another run that uses $CACHE"
		flock 9
	}
}

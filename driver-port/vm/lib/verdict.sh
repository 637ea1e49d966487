# Sourced: what came of a run. Passing checks are not enough; the guest must have come to its end, and the kernel's log must
# be clean.
# shellcheck shell=bash

# What a kernel says when something is wrong, whoever says it: oops, warning, lockdep, sanitizers, leak finder, stalls.
TROUBLE='BUG[: ]|WARNING: |Oops|Kernel panic|Call Trace|general protection|possible circular|possible recursive|possible deadlock'
TROUBLE+='|inconsistent lock state|suspicious RCU|held lock|ODEBUG|refcount_t|list_(add|del) corruption|Bad page|bad page'
TROUBLE+='|KASAN|KCSAN|UBSAN|kmemleak: [0-9]+ new|blocked for more than|detected stall|soft lockup|rust panic|segfault'
# What looks like it, in a kernel that is well.
HARMLESS='kasan: KernelAddressSanitizer initialized|kcsan: (enabled|strict mode|non-strict mode)|RCU CPU stall warnings'

# show_report: the guest's lines for people
show_report() { sed -u 's/\r$//; /^@/d'; }

# died_early QEMU-STATUS REPORT KERNEL-LOG: whether the machine began, ended by itself, and before process 1 had said anything
# on either port. That is nobody's fault here: under a busy emulator a kernel now and then trips over its own code patching.
died_early() {
	case $1 in 124 | 137) return 1 ;; esac
	! [ -s "$2" ] && grep -aq 'Linux version' "$3" 2>/dev/null && ! grep -aq '^guest: ' "$3"
}

# known_reports LOG: which lines are the kernel's reports about itself that are known, and what they say
known_reports() { awk -v trouble="$TROUBLE" -f "$VM/lib/known-reports.awk" "$1"; }

# trouble LOG: the lines of a kernel log that tell of trouble, with their numbers; not those of reports that are known
trouble() {
	local known
	known=$(known_reports "$1")
	tr -d '\r' <"$1" | grep -anE "$TROUBLE" | grep -avE "$HARMLESS" | KNOWN=$known awk -F: '
		BEGIN { n = split(ENVIRON["KNOWN"], line, "\n"); for (i = 1; i <= n; i++) { split(line[i], w, " "); from[i] = w[1]; to[i] = w[2] } }
		{ for (i = 1; i <= n; i++) if ($1 + 0 >= from[i] + 0 && $1 + 0 <= to[i] + 0) next; print }'
}

# log_from LOG LINE COUNT: so many lines of a kernel log, marked
log_from() { sed -n "$2,$(($2 + $3 - 1))p" "$1" | tr -d '\r' | sed 's/^/  | /'; }

# verdict QEMU-STATUS REPORT KERNEL-LOG LIMIT SECONDS: the table, and the reason when it is not good; exit status 0 or 1
verdict() {
	local status=$1 report=$2 log=$3 limit=$4 took=$5 bad=0 stopped first known
	tr -d '\r' <"$report" | awk '
		$1 == "@result" {
			if (!n++) printf "\n%-12s %7s %7s %9s\n", "suite", "passed", "failed", "seconds"
			printf "%-12s %7d %7d %9.1f\n", $2, $3, $4, $5 / 1000
			passed += $3; failed += $4; time += $5
		}
		END { if (n) printf "%-12s %7d %7d %9.1f\n", "all", passed, failed, time / 1000; exit failed > 0 }' || bad=1
	echo
	if ! tr -d '\r' <"$report" | grep -q '^@end$'; then
		bad=1
		stopped=$(tr -d '\r' <"$report" | sed -n 's/^@start //p' | tail -n 1)
		case $status in
		0) echo "the machine ended before the guest did${stopped:+, in or after \"$stopped\"}" ;;
		124 | 137) echo "the machine was stopped after $limit s${stopped:+, in or after \"$stopped\"}" ;;
		*) echo "QEMU failed with status $status" ;;
		esac
		[ -n "$stopped" ] || { echo "the end of the kernel log:" && tail -n 12 "$log" | sed 's/^/  | /'; }
	fi
	first=$(trouble "$log" | head -n 1 | cut -d: -f1 || true)
	if [ -n "$first" ]; then
		bad=1
		echo "the kernel log is not clean:"
		log_from "$log" "$first" 60
	fi
	known=$(known_reports "$log" | cut -d' ' -f3-)
	[ -z "$known" ] || echo "the kernel reports what is its own, and known: $known"
	echo "Linux $RELEASE ($(kernel_origin)), two CPUs, QEMU without acceleration, $took s: $(
		if [ $bad != 0 ]; then echo "FAILED"
		elif [ -n "$known" ]; then echo "all passed, kernel log clean but for that"
		else echo "all passed, kernel log clean"; fi
	)"
	return $bad
}

# expected PATTERN KERNEL-LOG SECONDS: whether the kernel reported what was planted, and its report; exit status 0 or 1
expected() {
	local pattern=$1 log=$2 took=$3 first
	first=$(tr -d '\r' <"$log" | grep -nE "$pattern" | head -n 1 | cut -d: -f1 || true)
	if [ -z "$first" ]; then
		echo "Linux $RELEASE ($(kernel_origin)), $took s: FAILED, it reports no \"$pattern\""
		return 1
	fi
	log_from "$log" "$first" 12
	echo "Linux $RELEASE ($(kernel_origin)), $took s: the planted bug is reported"
}

kernel_origin() {
	if [ "$KERNEL" = "$(realpath "$RUST_HOME/headers")" ]; then echo "Debian $SUITE $(cat "$RUST_HOME/version")"; else echo "$KERNEL"; fi
}

# Sourced after kernel.sh: the modules of this repository through kbuild, and the order in which modules are loaded.
# shellcheck shell=bash

# kernel_cc: a compiler for kbuild in the place of the one the kernel was built with. The host's gcc may be older than that;
# flags that it does not know are left out, or replaced by what means the same.
kernel_cc() {
	local cc=$OUT/cc flag drop=()
	for flag in -fstrict-flex-arrays=3 -fdiagnostics-show-context=2 -fzero-init-padding-bits=all -fms-anonymous-structs \
		-fmin-function-alignment=16; do
		gcc -Werror "$flag" -x c -c /dev/null -o /dev/null 2>/dev/null || drop+=("${flag%%=*}")
	done
	{
		echo '#!/usr/bin/env bash'
		echo 'args=()'
		echo 'for arg; do case ${arg%%=*} in'
		for flag in "${drop[@]}"; do case $flag in
			-fmin-function-alignment) echo "$flag) args+=(-falign-functions=\${arg#*=}) ;;" ;;
			*) echo "$flag) ;;" ;;
			esac; done
		echo '*) args+=("$arg") ;;'
		echo 'esac; done'
		echo 'exec gcc -Wno-attributes "${args[@]}"'
	} >"$cc.new"
	chmod +x "$cc.new"
	if cmp -s "$cc.new" "$cc"; then rm "$cc.new"; else mv "$cc.new" "$cc"; fi
}

# build_module NAME [FOLDER]: kbuild of FOLDER, or driver-port/NAME, into $OUT/NAME. objtool and modpost only warn; here that
# is a failure.
build_module() {
	local name=$1 folder=${2:-$PORT/$1} log=$OUT/$1.log cc=()
	[ "$(config_value CC_VERSION_TEXT)" = "\"$(gcc --version | head -n 1)\"" ] || cc=("CC=$OUT/cc")
	mkdir -p "$OUT/$name"
	if ! make -C "$KERNEL" "M=$folder" "MO=$OUT/$name" "${cc[@]}" LD=ld SVMLAB_LAB=y modules >"$log" 2>&1; then
		cat "$log"
		die "$name does not build against Linux $RELEASE"
	fi
	if grep -E 'objtool|modpost|WARNING|warning:' "$log" | grep -vE 'the compiler differs|pahole|BTF'; then
		die "$name builds with warnings against Linux $RELEASE"
	fi
}

# module_file NAME: the file of a module, built here or by the kernel; nothing when there is none
module_file() {
	local pattern=${1//[-_]/[-_]}
	find -L "$OUT/kmod" "$OUT/mmwatch" "$OUT/test_hmm" "$KERNEL" -name source -prune -o \
		\( -name "$pattern.ko" -o -name "$pattern.ko.xz" \) -print -quit 2>/dev/null
}

# module_bytes FILE: the module itself, unpacked
module_bytes() {
	case $1 in *.xz) xz -dc "$1" ;; *) cat "$1" ;; esac
}

# module_needs FILE: the names of the modules that it needs
module_needs() {
	local plain=$OUT/depends.ko info=$OUT/depends.modinfo
	module_bytes "$1" >"$plain"
	# To a file: an objcopy that fails removes what it was to write, and root's may remove /dev/stdout.
	objcopy -O binary -j .modinfo "$plain" "$info" 2>/dev/null || die "$1 is no kernel module"
	tr '\0' '\n' <"$info" | sed -n 's/^depends=//p' | tr ',' '\n'
}

# load_order NAME...: prints the files of these modules and of all that they need, each after what it needs
load_order() {
	local -A seen=()
	visit() {
		local file need
		[ -z "${seen[$1]:-}" ] || return 0
		seen[$1]=yes
		file=$(module_file "$1")
		[ -n "$file" ] || die "Linux $RELEASE has no module $1"
		for need in $(module_needs "$file"); do visit "$need"; done
		echo "$file"
	}
	local name
	for name; do visit "$name"; done
}

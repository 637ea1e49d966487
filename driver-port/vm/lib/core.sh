# Sourced after kernel-flags.sh: `core`, compiled with the kernel's flags, straight with rustc as rust/Makefile of Linux does.
# shellcheck shell=bash

# build_core: into $OUT/core, a sysroot; again only when the compiler or a flag changed
build_core() {
	local sys=$OUT/core wanted
	export RUSTC=$RUST_HOME/bin/rustc RUSTC_BOOTSTRAP=1 RUST_TARGET_PATH=$sys
	rust_flags
	wanted=$("$RUSTC" --version && printf '%s\n' "${KFLAGS[@]}" && rust_target)
	[ -f "$sys/made-with" ] && [ "$(cat "$sys/made-with")" = "$wanted" ] && return
	rm -rf "$sys"
	local lib=$sys/lib/rustlib/kernel/lib source
	mkdir -p "$lib"
	rust_target >"$sys/kernel.json"
	source=$(echo "$RUST_HOME"/rust/usr/src/rustc-*/library)
	"$RUSTC" --edition=2024 --cfg no_fp_fmt_parse -Aunused -Ainternal_features --target kernel "${KFLAGS[@]}" \
		--crate-name core --crate-type rlib --sysroot=/dev/null -o "$lib/libcore.rlib" "$source/core/src/lib.rs"
	# what compiler_builtins would bring (memcpy and the like), the kernel has
	echo '#![feature(compiler_builtins)] #![compiler_builtins] #![no_std] #![allow(internal_features)]' >"$sys/builtins.rs"
	"$RUSTC" --edition=2021 --target kernel "${KFLAGS[@]}" --crate-name compiler_builtins --crate-type rlib \
		--sysroot="$sys" -o "$lib/libcompiler_builtins.rlib" "$sys/builtins.rs"
	printf '%s\n' "$wanted" >"$sys/made-with"
}

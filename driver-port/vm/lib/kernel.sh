# Sourced: what a kernel folder holds. A kernel folder is what `make O=` of Linux leaves behind, or the headers folder that
# `fetch` fills in the same manner: .config, include/config/kernel.release, arch/x86/boot/bzImage, modules anywhere below.
# shellcheck shell=bash

# use_kernel [FOLDER]: sets KERNEL (the folder), RELEASE, OUT (where everything built for it is kept)
use_kernel() {
	KERNEL=$(realpath "${1:-$CACHE/${SUITE// /-}/headers}")
	RUST_HOME=$CACHE/${SUITE// /-}
	[ -f "$KERNEL/.config" ] || die "$KERNEL is not a built kernel: it has no .config"
	[ -s "$KERNEL/arch/x86/boot/bzImage" ] || die "$KERNEL is not a built kernel: it has no arch/x86/boot/bzImage"
	RELEASE=$(cat "$KERNEL/include/config/kernel.release")
	OUT=$CACHE/build/$RELEASE
	export KERNEL RELEASE OUT RUST_HOME
	mkdir -p "$OUT"
}

config_has() { grep -q "^CONFIG_$1=y" "$KERNEL/.config"; }
config_value() { sed -n "s/^CONFIG_$1=//p" "$KERNEL/.config"; }

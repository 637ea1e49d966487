# Sourced: Linux from Debian's source package, and kernels of our own from it.
# shellcheck shell=bash
. "$VM/lib/apt.sh"

# fetch_source FOLDER: the source of the version that `fetch` has
fetch_source() {
	local to=$1 version new=$1.new
	[ -f "$to/Makefile" ] && return
	version=$(cut -d. -f1,2 "$CACHE/${SUITE// /-}/release")
	rm -rf "$new"
	mkdir -p "$new"
	apt_setup "$new/apt"
	cd "$new"
	apt_run "$new/apt" "cannot fetch the source of Linux $version" apt-get download "linux-source-$version"
	dpkg-deb --fsys-tarfile linux-source-*.deb | tar -xO "./usr/src/linux-source-$version.tar.xz" |
		tar -xJ --strip-components=1
	rm -rf apt linux-source-*.deb
	# Only xe selects DRM_GPUSVM, and it has no prompt: give it one.
	sed -i '/^config DRM_GPUSVM$/{n;s/^\ttristate$/\ttristate "GPU SVM helpers"/}' drivers/gpu/drm/Kconfig
	grep -q 'tristate "GPU SVM helpers"' drivers/gpu/drm/Kconfig || die "DRM_GPUSVM of Linux $version is not as expected"
	cd "$CACHE"
	mv "$new" "$to"
}

# build_kernel KIND FOLDER: a kernel with config/base.config and config/KIND.config, kept
build_kernel() {
	local kind=$1 to=$2 source=$CACHE/deep/source config line
	[ -s "$to/arch/x86/boot/bzImage" ] && [ -f "$to/complete" ] && return
	for line in "flex flex" "bison bison" "bc bc"; do need "${line% *}" "${line#* }" "a kernel is built with it"; done
	echo '#include <libelf.h>' | gcc -E - >/dev/null 2>&1 || die "libelf's headers are missing; apt-get install libelf-dev"
	mkdir -p "$to"
	timed "source" fetch_source "$source"
	config=("$VM/config/base.config" "$VM/config/$kind.config")
	make -s -C "$source" "O=$to" tinyconfig
	(cd "$source" && scripts/kconfig/merge_config.sh -m -O "$to" "$to/.config" "${config[@]}" >/dev/null)
	make -s -C "$source" "O=$to" olddefconfig
	grep -hE '^CONFIG_' "${config[@]}" | while read -r line; do
		grep -qxF "$line" "$to/.config" || say "  this kernel cannot have $line"
	done
	timed "kernel, $kind" make_kernel "$source" "$to"
	touch "$to/complete"
}

make_kernel() {
	make -C "$1" "O=$2" "-j$(nproc)" bzImage modules >"$2.log" 2>&1 || {
		tail -n 30 "$2.log"
		die "the kernel does not build; all of it is in $2.log"
	}
}

# Sourced after modules.sh: the file system of the virtual machine. One program (the guest, as /init) with the host's C
# library beside it, and the modules in the order in which it is to load them.
# shellcheck shell=bash

# build_initramfs GUEST IMAGE MODULE...
build_initramfs() {
	local guest=$1 image=$2 root=$OUT/root file base
	shift 2
	need cpio cpio "the virtual machine's file system is made with it"
	rm -rf "$root"
	mkdir -p "$root"/{dev,proc,sys,tmp,lib/modules}
	strip -o "$root/init" "$guest"
	# the loader and the libraries, at the paths where the program looks for them
	ldd "$guest" | grep -oE '/[^ ]+' | while read -r file; do install -D "$file" "$root$file"; done
	for file in $(load_order "$@"); do
		base=$(basename "${file%.xz}")
		module_bytes "$file" >"$root/lib/modules/$base"
		echo "$base" >>"$root/lib/modules/order"
	done
	cp -r "$REPO/scenarios/corpus" "$root/corpus"
	(cd "$root" && find . -print0 | cpio --null -o -H newc --quiet) >"$image.new"
	mv "$image.new" "$image"
}

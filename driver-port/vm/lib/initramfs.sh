# Sourced after modules.sh: the file system of the virtual machine. One program (the guest, as /init) with the host's C
# library beside it, and the modules in the order in which it is to load them.
# shellcheck shell=bash

# build_initramfs GUEST IMAGE MODULE...
build_initramfs() {
	local guest=$1 image=$2 root=$OUT/root file
	shift 2
	rm -rf "$root"
	mkdir -p "$root"/{dev,proc,sys,tmp,lib/modules}
	strip -o "$root/init" "$guest"
	# the loader and the libraries, at the paths where the program looks for them
	ldd "$guest" | grep -oE '/[^ ]+' | while read -r file; do install -D "$file" "$root$file"; done
	for file in $(load_order "$@"); do add_module "$root" "$file"; done
	cp -r "$REPO/scenarios/corpus" "$root/corpus"
	counterexamples "$guest" "$root/counterexamples"
	pack "$root" "$image"
}

# counterexamples GUEST FILE: what the suite `races` takes. The search is the guest's own, and much faster here than there.
counterexamples() {
	local kept=$OUT/counterexamples
	if ! [ "$kept" -nt "$1" ]; then
		"$1" counterexamples >"$kept.new" || die "the simulator has no counterexamples for the suite races"
		mv "$kept.new" "$kept"
	fi
	cp "$kept" "$2"
}

# add_module ROOT FILE: one more module, loaded after those that are there
add_module() {
	local base
	base=$(basename "${2%.xz}")
	module_bytes "$2" >"$1/lib/modules/$base"
	echo "$base" >>"$1/lib/modules/order"
}

# pack ROOT IMAGE
pack() {
	need cpio cpio "the virtual machine's file system is made with it"
	(cd "$1" && find . -print0 | cpio --null -o -H newc --quiet) >"$2.new"
	mv "$2.new" "$2"
}

# Sourced after core.sh: the crate driver-port and what it depends on, as one relocatable object for kbuild.
# shellcheck shell=bash

# build_rust_object OBJECT
build_rust_object() {
	local archive=$OUT/driver-port.a object=$1 roots flags
	# cargo's separator for flags with blanks in them
	flags=$(printf '%s\x1f' "${KFLAGS[@]}" "--sysroot=$OUT/core")
	# profile: the kernel's optimisation level and panic; LTO needs bitcode that `core` is built without
	(cd "$REPO" && CARGO_ENCODED_RUSTFLAGS=${flags%?} CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_DEBUG=none \
		CARGO_PROFILE_RELEASE_PANIC=abort CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1 \
		cargo rustc --quiet --release -p driver-port --lib --features kernel,lab --crate-type staticlib \
		--target kernel --target-dir "$OUT/cargo" -- "--emit=link=$archive")
	# keep what the shim can reach, by name; make everything else local
	roots=$(nm --defined-only -g "$archive" 2>/dev/null | awk '$2 == "T" && $3 ~ /^svmlab_rs_/ {print $3}' | sort -u)
	[ -n "$roots" ] || die "driver-port exports no function named svmlab_rs_*"
	printf '%s\n' "$roots" >"$object.roots"
	# shellcheck disable=SC2046,SC2086 # one -u per name
	ld -r --gc-sections $(printf -- '-u %s ' $roots) -T "$VM/lib/merge-sections.lds" -o "$object.new" "$archive"
	# `ld -r` keeps the undefined symbols of the sections it dropped; modpost would take them for missing
	nm -u "$object.new" | awk '{print $NF}' >"$object.undefined"
	objcopy --keep-global-symbols="$object.roots" --strip-unneeded-symbols="$object.undefined" --discard-locals \
		--remove-section=.comment --remove-section=.debug_gdb_scripts "$object.new"
	# kbuild goes by time stamps
	if cmp -s "$object.new" "$object"; then rm "$object.new"; else mv "$object.new" "$object"; fi
}

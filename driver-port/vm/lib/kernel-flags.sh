# Sourced after kernel.sh: the rustc flags and the target description that the kernel's own build would use for the kernel's
# configuration (KBUILD_RUSTFLAGS of Makefile, arch/x86/Makefile, scripts/Makefile.kasan, scripts/Makefile.kcsan, and
# scripts/generate_rust_target.rs of Linux).
# shellcheck shell=bash

rust_flags() {
	local n
	# shellcheck disable=SC2054 # the commas are rustc's
	KFLAGS=(-Zunstable-options -Cpanic=abort -Cembed-bitcode=n -Clto=n -Cforce-unwind-tables=n -Ccodegen-units=1
		-Csymbol-mangling-version=v0 -Crelocation-model=static -Zfunction-sections=y
		-Ctarget-feature=-sse,-sse2,-sse3,-ssse3,-sse4.1,-sse4.2,-avx,-avx2 -Ctarget-cpu=x86-64 -Ztune-cpu=generic
		-Cno-redzone=y -Ccode-model=kernel -Copt-level=2 -Cdebug-assertions=n -Coverflow-checks=y)
	if config_has X86_KERNEL_IBT; then KFLAGS+=(-Zcf-protection=branch -Cjump-tables=n); fi
	if config_has MITIGATION_RETHUNK; then KFLAGS+=(-Zfunction-return=thunk-extern); fi
	if config_has CALL_PADDING; then
		n=$(config_value FUNCTION_PADDING_BYTES)
		KFLAGS+=("-Zpatchable-function-entry=$n,$n")
	fi
	if config_has FRAME_POINTER; then
		KFLAGS+=(-Cforce-frame-pointers=y -Zllvm_module_flag=frame-pointer:u32:2:max)
	fi
	if config_has KASAN_GENERIC; then
		n=0
		if config_has KASAN_INLINE; then n=10000; fi
		KFLAGS+=(-Zsanitizer=kernel-address -Zsanitizer-recover=kernel-address
			"-Cllvm-args=-asan-mapping-offset=$(config_value KASAN_SHADOW_OFFSET)"
			"-Cllvm-args=-asan-instrumentation-with-call-threshold=$n" -Cllvm-args=-asan-stack=0
			-Cllvm-args=-asan-globals=0 -Cllvm-args=-asan-kernel-mem-intrinsic-prefix=1)
	fi
	if config_has KCSAN; then KFLAGS+=(-Zsanitizer=thread -Cllvm-args=-tsan-distinguish-volatile=1); fi
}

rust_target() {
	local features=-mmx,+soft-float
	if config_has MITIGATION_RETPOLINE; then
		features+=,+retpoline-external-thunk,+retpoline-indirect-branches,+retpoline-indirect-calls
	fi
	if config_has MITIGATION_SLS; then features+=,+harden-sls-ijmp,+harden-sls-ret; fi
	cat <<-T
		{
		  "arch": "x86_64", "rustc-abi": "x86-softfloat", "llvm-target": "x86_64-linux-gnu",
		  "data-layout": "e-m:e-p270:32:32-p271:32:32-p272:64:64-i64:64-i128:128-f80:128-n8:16:32:64-S128",
		  "features": "$features", "target-pointer-width": 64, "frame-pointer": "may-omit",
		  "supported-sanitizers": ["kcfi", "kernel-address", "thread"],
		  "emit-debug-gdb-scripts": false, "stack-probes": {"kind": "none"}
		}
	T
}

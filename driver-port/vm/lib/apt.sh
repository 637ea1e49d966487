# Sourced: apt on a state folder of its own, as any user, with the host's Debian keys and proxy settings but none of its
# package lists. Packages are never installed, only downloaded; apt checks their signatures.
# shellcheck shell=bash

# The archive: MIRROR, or the first one the host's own apt uses.
archive() {
	local found
	found=${MIRROR:-$(grep -rhoE '^[^#]*https?://[^ ]+/debian/?( |$)' /etc/apt/sources.list /etc/apt/sources.list.d 2>/dev/null |
		grep -oE 'https?://[^ ]+' | head -n 1 || true)}
	[ -n "$found" ] || unavailable "no Debian archive among this machine's apt sources; name one, as MIRROR=http://.../debian"
	printf '%s' "${found%/}"
}

# apt_setup FOLDER: the options into APT, the package lists of SUITE fetched
apt_setup() {
	local dir=$1 keys url s
	command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null ||
		unavailable "the kernel comes as Debian packages, and this machine has no apt-get and dpkg-deb"
	for keys in /usr/share/keyrings/debian-archive-keyring.{pgp,gpg} none; do [ -f "$keys" ] && break; done
	[ "$keys" != none ] || unavailable "Debian's archive keys are missing; apt-get install debian-archive-keyring"
	url=$(archive)
	mkdir -p "$dir"/lists/partial "$dir"/cache/archives/partial
	for s in $SUITE; do echo "deb [arch=amd64 signed-by=$keys] $url $s main"; done >"$dir/sources.list"
	: >"$dir/status"
	APT=(-q -o "Dir::Etc::sourcelist=$dir/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$dir/lists"
		-o "Dir::State::status=$dir/status" -o "Dir::State::extended_states=$dir/extended_states"
		-o "Dir::Cache=$dir/cache" -o Debug::NoLocking=1 -o APT::Sandbox::User=root -o APT::Architecture=amd64
		-o Acquire::Languages=none -o Acquire::Retries=3 -o "APT::Default-Release=${SUITE##* }"
		-o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false
		-o Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false -o APT::Update::Error-Mode=any)
	# apt wants lists before it knows Default-Release
	apt-get "${APT[@]}" update >"$dir/log" 2>&1 || apt_failed "$dir" "cannot read the package lists of $SUITE from $url"
}

# What apt says when the archive is not there, or not now.
UNREACHABLE='Could not (resolve|connect|handshake)|Unable to connect|Cannot initiate the connection|Temporary failure'
UNREACHABLE+='|Connection (failed|refused|reset|timed out)|Network is unreachable|No route to host|timed out|  50[0-9] '

# apt_failed FOLDER MESSAGE: the message, and apt's own first complaint
apt_failed() {
	local why
	why=$(grep -m1 -E '^(E|W|Err):?' "$1/log" || tail -n 1 "$1/log")
	if grep -qE "$UNREACHABLE" "$1/log"; then unavailable "$2: $(grep -m1 -E "$UNREACHABLE" "$1/log")"; fi
	die "$2: $why"
}

# apt_run FOLDER WHAT COMMAND...: an apt command; when it fails, WHAT was not possible
apt_run() {
	local dir=$1 what=$2
	shift 2
	"$1" "${APT[@]}" "${@:2}" >"$dir/log" 2>&1 || apt_failed "$dir" "$what"
}

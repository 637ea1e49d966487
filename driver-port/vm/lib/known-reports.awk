# Reads a kernel log; prints "FIRST LAST WHAT" for each report of the kernel's about itself that is known, with the numbers
# of its first and last line. What is known is known by all of its marks, not by its headline:
#
# hmm_range_fault over hugetlbfs memory. __walk_page_range holds the VMA's lock for reading while hmm_vma_walk_hole faults in
# what has no entry, and hugetlb_fault takes the table's mutex and that lock again. (hmm_vma_walk_hugetlb_entry drops it
# first, and says why.) Marks: what is held was taken by hugetlb_vma_lock_read; what is wanted is wanted in hugetlb_fault;
# no other lock is in the cycle than hugetlbfs's two; and the way from hugetlb_fault up to hmm_range_fault has these frames
# and none of a module.

function is_hugetlb(class) {
	return class == "&resv_map->rw_sema" || class == "&vma_lock->rw_sema" || class == "&hugetlb_fault_mutex_table[i]"
}

# class_of LINE: of a lock as lockdep prints it, "(NAME){++++}-{4:4}"
function class_of(line) {
	sub(/^[^(]*\(/, "", line)
	sub(/\)\{.*/, "", line)
	return line
}

function is_known() {
	return !strange && is_hugetlb(class_of(wanted)) && is_hugetlb(class_of(held)) &&
		wanted ~ /at: (hugetlb_fault|hugetlb_vma_lock_read)\+/ && held ~ /at: hugetlb_vma_lock_read\+/ &&
		way ~ / hugetlb_fault handle_mm_fault hmm_vma_fault hmm_vma_walk_hole __walk_page_range walk_page_range[a-z_ ]* hmm_range_fault $/
}

{
	line = $0
	sub(/\r$/, "", line)
	sub(/^\[ *[0-9]+\.[0-9]+\] ?/, "", line)
}

/WARNING: possible (recursive locking|circular locking dependency) detected/ {
	first = NR
	wanted = held = next_is = ""
	way = " "
	strange = in_trace = 0
	next
}

!first { next }

# Something else speaks up in the middle of it.
line !~ /^Call Trace:/ && line ~ trouble { strange = 1 }

next_is == "wanted" { wanted = line; next_is = "" }
next_is == "held" { held = line; next_is = "" }
line ~ /is trying to acquire lock:$/ { next_is = "wanted" }
line ~ /already holding lock:$/ { next_is = "held" }
line ~ /^-> #[0-9]+ \(/ && !is_hugetlb(class_of(line)) { strange = 1 }

line ~ /^Call Trace:/ { in_trace = 1; next }
in_trace && way !~ / hmm_range_fault $/ && line ~ /^ [A-Za-z_]/ {
	frame = line
	sub(/^ +/, "", frame)
	if (frame ~ /\[/) strange = 1
	sub(/\+0x.*/, "", frame)
	sub(/\..*/, "", frame)
	way = way frame " "
}

line ~ /<\/TASK>/ {
	if (is_known()) print first, NR, "hmm_range_fault over hugetlbfs memory takes the VMA's lock twice"
	first = 0
}

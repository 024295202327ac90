#!/bin/sh
# Prints the ten slowest tests of a run: slowest.sh FILE, as SUBHOST_TIMES names it.
# Each line of FILE is SECONDS PROGRAM TEST; a test with several sandboxes has several lines.
[ -s "$1" ] || exit 0
printf '\nThe ten slowest tests, in seconds:\n'
awk '{ sum[$2 " " $3] += $1 } END { for (test in sum) printf "%8.1f %s\n", sum[test], test }' "$1" | sort -rn | head -n 10

#!/bin/sh
# Builds the tools of the version before, from this repository's history, into the directory that is
# given, and prints where they are.
set -eu

dir=$1
# The last commit whose plans have the format before.
commit=$(cat contrib/before.commit)
mkdir -p "$dir/source"
git archive "$commit" | tar x -C "$dir/source"
cd "$dir/source"
CARGO_TARGET_DIR=../target cargo build --quiet --locked --bin subhost --bin subhost-init >&2
cd ../target/debug
for tool in mount net enter start stop list info limit config check; do ln -f subhost "subhost-$tool"; done
pwd

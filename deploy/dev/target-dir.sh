#!/usr/bin/env bash
# Prints where cargo puts what it builds.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo metadata --no-deps --format-version 1 --locked | sed -E 's/.*"target_directory":"([^"]*)".*/\1/'

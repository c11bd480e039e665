#!/usr/bin/env bash
# Plays both OpenAPI documents against a running hub and node: about a minute, and no server error. The binaries are those of
# `cargo build`.
set -u -o pipefail
cd "$(dirname "$0")/.."
. tests/tools.sh

set_up_python || exit 1
bin=$(python_tool schemathesis 4.32.5) || { echo "schemathesis could not be installed"; exit 1; }
cargo run --quiet -p jikai-tests --example openapi -- "$bin/schemathesis"

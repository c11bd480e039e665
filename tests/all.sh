#!/usr/bin/env bash
# What `make test` runs: set-up, format, lints, tests. The last line is `N passed, N failed`.
set -u -o pipefail
cd "$(dirname "$0")/.."

passed=0
failed=0

# A step that counts as one check.
check() {
    local name=$1
    shift
    echo "== $name"
    if "$@"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: $name"
    fi
}

set_up() {
    local missing=()
    command -v cc >/dev/null || missing+=(gcc libc6-dev)
    command -v make >/dev/null || missing+=(make)
    command -v haproxy >/dev/null || missing+=(haproxy)
    if [ ${#missing[@]} -gt 0 ]; then
        apt-get update -q && apt-get install -y -q --no-install-recommends "${missing[@]}" || return 1
    fi
    command -v cargo >/dev/null || { echo "cargo is missing: install Rust 1.95 or later with rustup"; return 1; }
    for component in rustfmt clippy; do
        cargo "${component/rustfmt/fmt}" --version >/dev/null 2>&1 || rustup component add "$component" || return 1
    done
}

rust_tests() {
    local log
    log=$(mktemp)
    cargo test --workspace --no-fail-fast 2>&1 | tee "$log"
    local status=${PIPESTATUS[0]}
    local counts
    counts=$(sed -nE 's/^test result: [a-zA-Z]+\. ([0-9]+) passed; ([0-9]+) failed;.*/\1 \2/p' "$log" |
        awk '{ p += $1; f += $2 } END { print p + 0, f + 0 }')
    rm -f "$log"
    passed=$((passed + ${counts% *}))
    failed=$((failed + ${counts#* }))
    # A build that failed ran no test: that is a failure of its own.
    if [ "$status" -ne 0 ] && [ "${counts#* }" -eq 0 ]; then
        failed=$((failed + 1))
        echo "FAILED: cargo test"
    fi
}

check "set-up" set_up
check "secret scan" tests/secrets.sh
check "cargo fmt --check" cargo fmt --all --check
check "cargo build" cargo build --workspace --quiet
check "cargo clippy -D warnings" cargo clippy --workspace --all-targets --quiet -- -D warnings
echo "== cargo test"
rust_tests
check "OpenAPI fuzzing" tests/openapi.sh

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]

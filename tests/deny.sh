#!/usr/bin/env bash
# What `make deny` runs: licences, bans and sources of all dependencies, and the known holes in them where the database of
# advisories can be fetched. Installs cargo-deny if it is missing.
set -u -o pipefail
cd "$(dirname "$0")/.."

version=0.20
fetch_s=60
if ! cargo deny --version 2>/dev/null | grep -q "^cargo-deny $version\."; then
    echo "== installing cargo-deny $version: some minutes"
    cargo install --locked --quiet cargo-deny --version "~$version" || exit 1
fi

failed=0
cargo deny check bans licenses sources || failed=1

# Without the database nothing can be said about holes: that is told, and is not an "ok".
if timeout "$fetch_s" cargo deny fetch db >/dev/null 2>&1; then
    cargo deny check --disable-fetch advisories || failed=1
else
    echo "advisories NOT CHECKED: the database of advisories is out of reach; run \`make deny\` where it can be fetched"
fi
exit "$failed"

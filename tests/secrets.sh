#!/usr/bin/env bash
# Looks for secrets in everything that is committed or about to be. What was reviewed and is none stands in
# tests/secrets.json; a line of a test may instead end with the tool's own mark, `pragma: allowlist secret`.
#
# After a review: `tests/secrets.sh review` writes the list anew, and its difference is what the reviewer reads.
set -u -o pipefail
cd "$(dirname "$0")/.."
. tests/tools.sh

reviewed=tests/secrets.json
set_up_python || exit 1
bin=$(python_tool detect-secrets 1.5.0) || { echo "detect-secrets could not be installed"; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Whether the tool, as it is called here, finds nothing new in these files.
is_clean() {
    # A copy: the tool writes moved line numbers back, and answers 3 for them.
    cp "$reviewed" "$work/reviewed.json"
    "$bin/detect-secrets-hook" --baseline "$work/reviewed.json" "$@" >"$work/found" 2>&1
    case $? in 0 | 3) ;; *) return 1 ;; esac
}

files=()
while IFS= read -r -d '' file; do
    case $file in Cargo.lock | "$reviewed") ;; *) [ -f "$file" ] && files+=("$file") ;; esac
done < <(git ls-files -z --cached --others --exclude-standard)

if [ "${1:-}" = review ]; then
    "$bin/detect-secrets" scan "${files[@]}" | python3 -c '
import json, sys
found = json.load(sys.stdin)
found.pop("generated_at")
for secrets in found["results"].values():
    for secret in secrets:
        secret["is_secret"] = False
json.dump(found, sys.stdout, indent=2, sort_keys=True)
print()' >"$work/new" && mv "$work/new" "$reviewed"
    exit
fi

# A scan that cannot fail proves nothing: a planted key of each kind that this system has must be found.
printf -- '-----BEGIN %s KEY-----\nMC4CAQAwBQYDK2VwBCIEIA\n-----END %s KEY-----\n' PRIVATE PRIVATE >"$work/node.key.pem"
printf 'master_key = "%s"\n' "$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')" >"$work/hub.toml"
printf 'let token = "%s";\n' "$(head -c 32 /dev/urandom | base64 -w0)" >"$work/session.rs"
for planted in node.key.pem hub.toml session.rs; do
    if is_clean "$work/$planted"; then
        echo "the secret planted in $planted was not found: the scan is blind"
        exit 1
    fi
done

if ! is_clean "${files[@]}"; then
    cat "$work/found"
    exit 1
fi
echo "secrets: ${#files[@]} files scanned, 3 of 3 planted secrets found"

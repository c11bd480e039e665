# Sourced by the scripts here: tools of Python, each in an environment of its own under the target folder.

# Sees that Python can make environments.
set_up_python() {
    python3 -c 'import ensurepip, venv' 2>/dev/null && return
    apt-get update -q && apt-get install -y -q --no-install-recommends python3 python3-venv
}

# Installs a package at a version unless it is there, and prints the folder of its programs.
python_tool() {
    local folder="${CARGO_TARGET_DIR:-target}/tools/$1-$2"
    if [ ! -e "$folder/installed" ]; then
        rm -rf "$folder"
        python3 -m venv "$folder" >&2 || return 1
        "$folder/bin/pip" install --quiet --disable-pip-version-check "$1==$2" >&2 || return 1
        touch "$folder/installed"
    fi
    (cd "$folder/bin" && pwd)
}

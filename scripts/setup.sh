# shellcheck shell=bash
# Sourced by the scripts beside it. `set_up EXTRA` makes .venv with that extra of pyproject.toml; made once, it is found
# again in no time. What a caller may set:
#   PYTHON=python3.12        the interpreter of a new .venv
#   PBRL_TORCH_INDEX=URL     a further package index that has the torch build you want, such as a CPU one
#   PIP_...                  pip's own settings

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." >/dev/null && pwd)
venv=$root/.venv
python=$venv/bin/python
unfinished=$venv/pbrl-unfinished

set_up() {
    local extra=$1
    if is_set_up "$extra"; then return; fi
    exec 9<"$root/scripts/setup.sh"
    if command -v flock >/dev/null; then flock 9; fi  # one set-up at a time
    trap 'exit 130' INT  # pip swallows Ctrl-C: without this the next step would start
    if ! is_set_up "$extra"; then
        make_venv
        # Alone and first: a torch that is already there, or offered as a CPU build, stays. As a dependency of the rest
        # pip would look for the newest, which on Linux brings gigabytes of CUDA.
        say "installing torch $(pin torch)"
        install ${PBRL_TORCH_INDEX:+--extra-index-url "$PBRL_TORCH_INDEX"} "torch==$(pin torch)"
        say "installing pbrl[$extra] with the versions of constraints.txt (minutes the first time)"
        install -e "${root}[$extra]"
        add_system_packages "$extra"
        fingerprint >"$venv/pbrl-$extra"
        rm "$unfinished"
        say "done: $venv"
    fi
    trap - INT
    exec 9<&-
}

say() { printf '%s: %s\n' "$(basename -- "$0")" "$1" >&2; }

fail() {
    say "$1"
    exit 1
}

# A stamp of this extra, or of one that includes it, fits pyproject.toml, constraints.txt, Python and folder.
is_set_up() {
    local stamp stamps=("$venv/pbrl-$1")
    case $1 in
        suites) stamps+=("$venv/pbrl-test" "$venv/pbrl-dev") ;;
        test) stamps+=("$venv/pbrl-dev") ;;
    esac
    if [[ -e $unfinished ]]; then return 1; fi
    for stamp in "${stamps[@]}"; do
        if [[ -f $stamp && $(<"$stamp") == "$(fingerprint)" ]]; then return; fi
    done
    return 1
}

fingerprint() {
    { cat "$root/pyproject.toml" "$root/constraints.txt" && "$python" --version && echo "$root"; } 2>/dev/null | cksum
}

pin() { sed -n "s/^$1==\([^ ]*\).*/\1/p" "$root/constraints.txt"; }

make_venv() {
    local base
    if [[ -e $unfinished ]]; then
        say "the last set-up was interrupted: starting afresh"
        rm -rf "$venv"
    elif "$python" -m pip --version >/dev/null 2>&1; then
        is_supported "$python" || fail "$venv has $("$python" --version); remove it, to have one of 3.10 to 3.13 made"
        touch "$unfinished"
        return
    fi
    base=$(find_python)
    say "making .venv with $("$base" --version)"
    mkdir -p "$venv"
    touch "$unfinished"
    "$base" -m venv "$venv" || fail "cannot make .venv; on Debian: apt-get install python3-venv"
}

find_python() {
    local candidate candidates=(python3 python3.13 python3.12 python3.11 python3.10)
    if [[ -n ${PYTHON:-} ]]; then candidates=("$PYTHON"); fi
    for candidate in "${candidates[@]}"; do
        if is_supported "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    candidate=${candidates[0]}
    fail "needs Python 3.10, 3.11, 3.12 or 3.13, but $candidate is $(version "$candidate"); choose another: PYTHON=... $0"
}

is_supported() {
    "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

version() {
    "$1" --version 2>/dev/null || echo "not found"
}

install() {
    if ! "$python" -m pip install --quiet --disable-pip-version-check -c "$root/constraints.txt" "$@"; then
        rm "$unfinished"  # pip has undone what it began: the next call goes on from here
        fail "pip could not install this; see its message above"
    fi
}

# MuJoCo draws without a display through EGL or OSMesa: only pictures and clips need it. The tests of the viewer's page
# need a browser and Node.js, those of benches on a cluster SLURM; without them they skip.
add_system_packages() {
    local package missing=() wanted=(libegl1 libgl1-mesa-dri libosmesa6)
    if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then return; fi
    if [[ $1 != suites ]]; then
        if ! command -v chromium google-chrome >/dev/null; then wanted+=(chromium); fi
        if ! command -v node >/dev/null; then wanted+=(nodejs); fi
        if ! PATH=$PATH:/usr/sbin command -v slurmctld >/dev/null; then wanted+=(slurm-wlm); fi
    fi
    for package in "${wanted[@]}"; do
        if [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) != installed ]]; then
            missing+=("$package")
        fi
    done
    if [[ ${#missing[@]} == 0 ]]; then return; fi
    if [[ $(id -u) == 0 ]]; then
        say "installing ${missing[*]}"
        export DEBIAN_FRONTEND=noninteractive
        if apt-get update -qq && apt-get install -qq -y --no-install-recommends "${missing[@]}"; then return; fi >/dev/null
    fi
    say "no video clips without a display, or skipped tests, until: sudo apt-get install ${missing[*]}"
}

# What scripts/quickstart and scripts/test share: which packages a machine needs, and how a machine gets them. Sourced, never run.
#
# Everything here may be run again: what is present is left alone, and where all is present neither apt nor the network is touched.
# A step that fails ends the script with the step's name, the end of its log and what to do.
# shellcheck shell=bash disable=SC2034,SC2120 # the lists and the arguments are for who sources this

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly ROOT

# Their versions matter: Debian 12's own QEMU 7.2 corrupts guest memory in live migration under TCG. There they come from the backports suite.
readonly PACKAGES_VIRTUAL=(qemu-system-x86 qemu-utils libvirt-daemon-system libvirt-daemon-driver-qemu libvirt-daemon-driver-network libvirt-clients libvirt-dev)
readonly PACKAGES_HOST=(ovmf dnsmasq-base nftables iptables iproute2 util-linux procps openssh-client ca-certificates)
# libvirt-python is compiled here: it must match the machine's libvirt, so there are no wheels.
readonly PACKAGES_PYTHON=(python3 python3-venv python3-dev gcc libc6-dev pkg-config)
readonly PACKAGES_IMAGES=(e2fsprogs mtools kmod mmdebstrap)
readonly PACKAGES_TESTS=(git shellcheck postgresql busybox-static cpio chromium)
readonly QEMU_MAJOR_MIN=9

LOG=${HOUYI_SETUP_LOG:-$(mktemp --tmpdir houyi-setup-XXXXXX.log)}
readonly LOG
STEP=start
ADVICE=
STEP_BEGAN=$SECONDS

# step NAME ADVICE: begin a step; ADVICE is what to do when it fails.
step() {
    STEP=$1 ADVICE=$2 STEP_BEGAN=$SECONDS
    printf '\n== %s\n' "$STEP" >>"$LOG"
    printf '%-26s ' "$STEP"
}

# ok [WORDS]: the step's end.
ok() { printf '%s (%d s)\n' "${1:-done}" "$((SECONDS - STEP_BEGAN))"; }

# To be called as `trap failed EXIT`: says what went wrong, unless all went well.
failed() {
    local status=$?
    if ((status == 0)); then
        [[ -n ${HOUYI_SETUP_LOG:-} ]] || rm -f "$LOG"
        return
    fi
    printf 'FAILED\n\nStep "%s" failed (exit status %d). The end of its log (%s):\n' "$STEP" "$status" "$LOG" >&2
    awk '/^== /{text=""; next} {text = text $0 "\n"} END {printf "%s", text}' "$LOG" | tail -n 20 | sed 's/^/    /' >&2
    printf '\nWhat to do: %s\nThen run the same command again: it goes on where it ended.\n' "$ADVICE" >&2
}

# quietly COMMAND...: its output goes to the log only.
quietly() { "$@" >>"$LOG" 2>&1; }

# fail WORDS: end the step with a reason.
fail() {
    printf '%s\n' "$*" >>"$LOG"
    exit 1
}

as_root() {
    if ((EUID == 0)); then "$@"; else sudo -- "$@"; fi
}

need_root() {
    ((EUID == 0)) && return
    command -v sudo >/dev/null || fail "this needs root, and there is no sudo"
    sudo -v || fail "sudo was refused"
}

# missing_packages NAME...: those that are not installed, one a line.
missing_packages() {
    local name
    for name in "$@"; do
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null) == installed ]] || echo "$name"
    done
}

debian_version() { (. /etc/os-release && [[ ${ID:-} == debian ]] && echo "${VERSION_ID:-}") || true; }

# Nothing where it is not installed.
installed_qemu_major() {
    local version
    version=$(dpkg-query -W -f '${db:Status-Status} ${source:Upstream-Version}' qemu-system-x86 2>/dev/null) || true
    if [[ $version =~ ^installed\ ([0-9]+) ]]; then echo "${BASH_REMATCH[1]}"; fi
}

# archive_source SUITE: URI and keyring of the apt source that SUITE comes from on this machine, "URI|KEYRING" (the keyring may be empty).
# Reads deb822 (*.sources) and one-line (*.list) files; the network is not asked.
archive_source() {
    local suite=$1 folder=${APT_FOLDER:-/etc/apt}
    local -a deb822=() lines=()
    mapfile -t deb822 < <(find "$folder/sources.list.d" -maxdepth 1 -name '*.sources' 2>/dev/null | sort)
    mapfile -t lines < <(find "$folder" -maxdepth 2 -name '*.list' 2>/dev/null | sort)
    if ((${#deb822[@]})); then
        # A paragraph a record; comments and folded lines are part of deb822.
        awk -v suite="$suite" '
            function finish(  n, i, found, parts) {
                n = split(field["suites"], parts, " ")
                for (i = 1; i <= n; i++) if (parts[i] == suite) found = 1
                if (found && field["types"] ~ /(^| )deb( |$)/ && tolower(field["enabled"]) != "no") {
                    split(field["uris"], parts, " ")
                    print parts[1] "|" (field["signed-by"] ~ /^\// ? field["signed-by"] : "")
                    done = 1; exit
                }
                delete field; last = ""
            }
            FNR == 1 && NR > 1 { finish() }
            /^#/ { next }
            /^[ \t]*$/ { finish(); next }
            /^[ \t]/ { sub(/^[ \t]+/, ""); field[last] = field[last] " " $0; next }
            { last = tolower($0); sub(/:.*/, "", last); value = $0; sub(/^[^:]*:[ \t]*/, "", value); field[last] = value }
            END { if (!done) finish() }
        ' "${deb822[@]}" | head -n 1 | grep . && return
    fi
    if ((${#lines[@]})); then
        awk -v suite="$suite" '
            $1 == "deb" {
                key = ""; at = 2
                if ($2 ~ /^\[/) {
                    options = ""
                    for (; at <= NF; at++) { options = options " " $at; if ($at ~ /\]$/) { at++; break } }
                    if (match(options, /signed-by=[^] ]+/)) key = substr(options, RSTART + 10, RLENGTH - 10)
                }
                if ($(at + 1) == suite) { print $at "|" key; exit }
            }
        ' "${lines[@]}" | grep . && return
    fi
    return 1
}

# The suite is added in a file of its own, from the mirror that this machine uses already.
add_backports() {
    local codename=$1 found uri key file=/etc/apt/sources.list.d/houyi-backports.sources
    if archive_source "$codename-backports" >/dev/null; then return; fi
    found=$(archive_source "$codename") || fail "no apt source of the suite $codename was found in /etc/apt"
    uri=${found%%|*} key=${found#*|}
    {
        printf '# Made by houyi: QEMU and libvirt are taken from here.\nTypes: deb\nURIs: %s\nSuites: %s-backports\nComponents: main\n' "$uri" "$codename"
        if [[ -n $key ]]; then printf 'Signed-By: %s\n' "$key"; fi
    } | as_root tee "$file" >>"$LOG"
    APT_UPDATED=
}

APT_UPDATED=
apt_update() {
    if [[ -n $APT_UPDATED ]]; then return; fi
    quietly as_root apt-get update -q
    APT_UPDATED=yes
}

apt_install() {
    quietly as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends -o DPkg::Lock::Timeout=300 "$@"
}

# need_packages NAME...: have the virtualisation packages in a version that is good enough, and NAME...
need_packages() {
    local version codename major
    local -a virtual others
    version=$(debian_version)
    [[ $version == 12 || $version == 13 ]] || fail "this is not Debian 12 or 13 (/etc/os-release)"
    codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
    mapfile -t others < <(missing_packages "$@")
    mapfile -t virtual < <(missing_packages "${PACKAGES_VIRTUAL[@]}")
    major=$(installed_qemu_major)
    if [[ -n $major ]] && ((major < QEMU_MAJOR_MIN)); then virtual=("${PACKAGES_VIRTUAL[@]}"); fi
    if ((${#others[@]} + ${#virtual[@]} == 0)); then
        ok "all present"
        return
    fi
    if [[ $version == 12 ]] && ((${#virtual[@]})); then add_backports "$codename"; fi
    apt_update
    if ((${#others[@]})); then apt_install "${others[@]}"; fi
    if ((${#virtual[@]})); then
        if [[ $version == 12 ]]; then apt_install -t "$codename-backports" "${PACKAGES_VIRTUAL[@]}"; else apt_install "${PACKAGES_VIRTUAL[@]}"; fi
    fi
    ok "installed: ${others[*]} ${virtual[*]}"
}

# A Python >= 3.11, Debian's own if there is one: libvirt-python is compiled against it.
find_python() {
    local each
    for each in /usr/bin/python3 python3; do
        if "$each" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$each"
            return
        fi
    done
    fail "no Python 3.11 or later with venv was found"
}

# need_python [--no-dev]: .venv with exactly what uv.lock says. uv comes from pip, in an environment of its own.
need_python() {
    local python uv=$ROOT/.venv-uv/bin/uv
    local -a compile=()
    python=$(find_python)
    if ! "$uv" --version >/dev/null 2>&1; then
        quietly "$python" -m venv --clear "$ROOT/.venv-uv"
        quietly "$ROOT/.venv-uv/bin/python" -m pip install -q --disable-pip-version-check 'uv>=0.9'
    fi
    # Compiled by whom it belongs to: else what sudo runs leaves root's files here, which the user cannot remove.
    if ((EUID != 0)); then compile=(--compile-bytecode); fi
    quietly env UV_PYTHON_DOWNLOADS=never UV_NO_PROGRESS=1 UV_PROJECT_ENVIRONMENT="$ROOT/.venv" \
        "$uv" sync --project "$ROOT" --frozen --inexact --extra agent --python "$python" "${compile[@]}" "$@"
    if ((EUID != 0)); then quietly "$ROOT/.venv/bin/python" -m compileall -q "$ROOT/src"; fi
    ok "$("$ROOT/.venv/bin/python" -c 'import sys; print("Python %d.%d.%d" % sys.version_info[:3])')"
}

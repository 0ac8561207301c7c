# Container images for the tests, made on this machine without a registry: docker archives under $CACHE/images, which
# `docker load` and `ctr images import` take. Sourced by tests/run.sh.
#
#   clawhand-test/busybox:1   Debian's busybox-static and nothing else
#   clawhand-test/python:1    Debian with python3, venv and pip, and wheels in /opt/wheels for work without a network

BUSYBOX_IMAGE=clawhand-test/busybox:1
PYTHON_IMAGE=clawhand-test/python:1
# What changes the images changes this, so that a cache is not taken for what it no longer is.
IMAGES_VERSION=1

# busybox_image: makes the archive if it isn't there yet and prints its path.
busybox_image() {
    local file=$CACHE/images/busybox-$IMAGES_VERSION.tar folder name program
    [ -s "$file" ] && printf '%s\n' "$file" && return 0
    program=$(command -v busybox) || return 1
    folder=$(mktemp -d "${TMPDIR:-/tmp}/clawhand-image.XXXXXX") || return 1
    mkdir -p "$folder"/{bin,dev,etc,proc,sys,tmp}
    chmod 1777 "$folder/tmp"
    cp "$program" "$folder/bin/busybox"
    for name in $("$program" --list); do
        [ "$name" = busybox ] || ln -s busybox "$folder/bin/$name"
    done
    printf 'root:x:0:0:root:/:/bin/sh\n' >"$folder/etc/passwd"
    docker_archive "$BUSYBOX_IMAGE" "$folder" "$file"
    name=$?
    rm -rf "$folder"
    [ "$name" = 0 ] && printf '%s\n' "$file"
}

# wheels: what the README's task installs, downloaded once, for targets without a network; prints the folder.
wheels() {
    local folder=$CACHE/wheels-$IMAGES_VERSION
    if [ ! -d "$folder" ]; then
        rm -rf "$folder.new"
        python_environment pip pip >&2 &&
            "$CACHE/pip/bin/pip" download --quiet --disable-pip-version-check --only-binary=:all: --python-version 3.11 \
            --dest "$folder.new" setuptools wheel pytest >&2 &&
            mv "$folder.new" "$folder" || return 1
    fi
    printf '%s\n' "$folder"
}

# python_image: the same for the one with Python; the first time on a machine takes about a minute and needs Debian and PyPI.
python_image() {
    local file=$CACHE/images/python-$IMAGES_VERSION.tar folder code wheels
    wheels=$(wheels) || return 1
    [ -s "$file" ] && printf '%s\n' "$file" && return 0
    folder=$(mktemp -d "${TMPDIR:-/tmp}/clawhand-image.XXXXXX") || return 1
    chmod 755 "$folder"
    debootstrap --variant=minbase --include=python3,python3-pip,python3-venv bookworm "$folder" >&2 &&
        mkdir -p "$folder/opt" && cp -r "$wheels" "$folder/opt/wheels" &&
        rm -rf "$folder"/var/cache/apt/* "$folder"/var/lib/apt/lists/* "$folder"/usr/share/{doc,man,locale}/* &&
        docker_archive "$PYTHON_IMAGE" "$folder" "$file"
    code=$?
    rm -rf "$folder"
    [ "$code" = 0 ] && printf '%s\n' "$file"
}

# docker_archive NAME FOLDER FILE: an image of one layer, with everything in it root's.
docker_archive() {
    local work layer config
    mkdir -p "$(dirname "$3")"
    work=$(mktemp -d "$(dirname "$3")/making.XXXXXX") || return 1
    tar --numeric-owner --owner=0 --group=0 --exclude='./proc/*' --exclude='./sys/*' --exclude='./dev/*' \
        -C "$2" -cf "$work/layer.tar" . &&
        layer=$(sha256sum "$work/layer.tar" | cut -d' ' -f1) &&
        printf '{"architecture":"%s","os":"linux","config":{"Env":["PATH=%s"],"Cmd":["/bin/sh"],"WorkingDir":"/"},%s}' \
            "$(image_architecture)" /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
            "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:$layer\"]}" >"$work/config" &&
        config=$(sha256sum "$work/config" | cut -d' ' -f1) &&
        mv "$work/config" "$work/$config.json" &&
        printf '[{"Config":"%s.json","RepoTags":["%s"],"Layers":["layer.tar"]}]' "$config" "$1" >"$work/manifest.json" &&
        tar -C "$work" -cf "$work/image" manifest.json "$config.json" layer.tar &&
        mv "$work/image" "$3"
    layer=$?
    rm -rf "$work"
    return "$layer"
}

image_architecture() {
    case $(uname -m) in
    x86_64) echo amd64 ;;
    aarch64) echo arm64 ;;
    *) uname -m ;;
    esac
}

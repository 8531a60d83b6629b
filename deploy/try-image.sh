#!/usr/bin/env bash
# Builds the image where no container engine runs, and starts it with a read-only file system.
# As root on Debian, with: apt-get install buildah debootstrap
#   deploy/try-image.sh [FOLDER]     # FOLDER keeps the base between runs
# Instead of python:3.13-slim the base is Debian's own Python. All else is the Dockerfile's.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(realpath -m "${1:-/var/tmp/usher-image}")
export BUILDAH_ISOLATION=chroot STORAGE_DRIVER=vfs
build() { buildah --root "$folder/storage" --runroot "$folder/run" "$@"; }
mkdir -p "$folder"

if [ ! -e "$folder/base/usr/bin/python" ]; then
    debootstrap --variant=minbase --include=ca-certificates,python3-venv stable "$folder/base"
    ln -s python3 "$folder/base/usr/bin/python"
fi
if ! build inspect --type image localhost/python:debian >/dev/null 2>&1; then
    container=$(build from scratch)
    build add --quiet "$container" "$folder/base" /
    build commit --quiet "$container" localhost/python:debian
    build rm "$container" >/dev/null
fi
mounts=()
for file in /etc/pip.conf "${PIP_CERT:-}"; do # this machine's way to its packages
    [ ! -f "$file" ] || mounts+=(-v "$file:$file:ro")
done
build bud --pull-never --format docker --build-arg PYTHON=debian "${mounts[@]}" \
    -f deploy/Dockerfile -t localhost/usher:try .

container=$(build from localhost/usher:try)
tree=$(build mount "$container")
data=$(mktemp -d)
trap 'kill $(pgrep -P "${server:-0}") 2>/dev/null || true; wait; build umount "$container" >/dev/null
      build rm "$container" >/dev/null; rm -rf "$data"' EXIT
chown 10001:10001 "$data"
chmod 700 "$data"
setting() { build inspect --type container --format "$1" "$container"; }
mapfile -t variables < <(setting '{{range .OCIv1.Config.Env}}{{println .}}{{end}}' | sed '/^$/d')
mapfile -t command < <(setting '{{range .OCIv1.Config.Entrypoint}}{{println .}}{{end}}' | sed '/^$/d')
mapfile -t serve < <(setting '{{range .OCIv1.Config.Cmd}}{{println .}}{{end}}' | sed '/^$/d')
mapfile -t health < <(setting '{{range .Docker.Config.Healthcheck.Test}}{{println .}}{{end}}' | sed '/^$/d')
user=$(setting '{{.OCIv1.Config.User}}')
secret=$(od -An -tx1 -N32 /dev/urandom | tr -d ' \n')
(umask 077 && printf '%s\n' "$secret" >"$data/secret" && chown 10001:10001 "$data/secret")

# As `docker run --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges` does it.
# shellcheck disable=SC2016
inside=(unshare --mount --pid --fork --kill-child sh -euc '
    tree=$1 data=$2 user=$3; shift 3
    mount --bind "$tree" "$tree"
    mount --bind "$data" "$tree/data"
    mount -t tmpfs -o mode=1777 tmpfs "$tree/tmp"
    mount -t proc proc "$tree/proc"
    mount -o remount,bind,ro "$tree"
    exec chroot "$tree" setpriv --reuid="${user%:*}" --regid="${user#*:}" --clear-groups \
        --no-new-privs --bounding-set=-all --inh-caps=-all "$@"
    ' sh "$tree" "$data" "$user"
    env -i --chdir=/app "${variables[@]}" USHER_WEBHOOK_SECRETS_FILE=/data/secret)
"${inside[@]}" "${command[@]}" "${serve[@]}" &
server=$!
for _ in $(seq 100); do
    ! curl -fsS http://127.0.0.1:8888/readyz 2>/dev/null || break
    sleep 0.3
done
echo
"${inside[@]}" "${command[@]}" trigger signup --email ada@example.com
"${inside[@]}" "${command[@]}" events list
"${inside[@]}" "${command[@]}" doctor || true
"${inside[@]}" "${health[@]:1}" && echo "HEALTHCHECK finds it well"
echo "written outside /data and /tmp:"
"${inside[@]}" sh -c 'touch /app/written 2>&1 || true; id; grep Cap /proc/self/status'
kill "$(pgrep -P "$server")"
wait "$server" && echo "SIGTERM ends it with 0"

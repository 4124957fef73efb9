#!/usr/bin/env bash
# Environments of other programs that tests compare with: scripts/make_peers.sh [NAME ...], all of tests/peers/ by default.
#
# tests/peers/NAME.txt lists all packages of one, pinned, and makes $PEERS/NAME; nothing else is installed. With the line
# "# uses: the main environment" the packages of $VENV (torch, numpy) are seen behind its own. What is there is kept while
# its list and $VENV stay what they are. PEERS and VENV choose the folders.
set -euo pipefail
cd "$(dirname "$0")/.."
VENV=${VENV:-.venv}
PEERS=${PEERS:-.peers}
[ -x "$VENV/bin/python" ] || { echo "no environment at $VENV: run make setup" >&2; exit 1; }
packages=$("$VENV/bin/python" -c 'import os, sysconfig; print(os.path.realpath(sysconfig.get_paths()["purelib"]))')
[ $# -gt 0 ] || set -- $(basename -s .txt tests/peers/*.txt)

for name in "$@"; do
    list="tests/peers/$name.txt"
    peer="$PEERS/$name"
    [ -f "$list" ] || { echo "no list $list; there are: $(basename -s .txt tests/peers/*.txt | xargs)" >&2; exit 1; }
    if cmp -s "$list" "$peer/pins.txt" && [ "$(cat "$peer/main.txt" 2>/dev/null)" = "$packages" ]; then
        echo "$peer: as $list has it"
        continue
    fi
    rm -rf "$peer"
    "$VENV/bin/python" -m venv --without-pip "$peer"
    if grep -qx "# uses: the main environment" "$list"; then
        echo "$packages" >"$("$peer/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')/main.pth"
    fi
    "$VENV/bin/python" -m pip --python "$peer/bin/python" install --quiet --no-deps --ignore-installed -r "$list"
    # Last: an environment without its list is built anew.
    echo "$packages" >"$peer/main.txt"
    cp "$list" "$peer/pins.txt"
    echo "$peer: made of $list"
done

#!/bin/sh
# Install into .venv at the exact versions of constraints.txt: `scripts/install.sh PYTHON [pip's arguments]`.
#
# With uv, which is fast: the one on PATH, or one from PyPI inside .venv. Where uv finds no packages, with pip,
# which also knows the mirrors of pip.conf. PYTHON is where `pip` is; the environment may have none of its own
# (Debian's Python comes without a bundled one).
set -eu
outside=$1
shift
inside=.venv/bin/python

[ -x "$inside" ] || "$outside" -m venv --without-pip .venv
uv=$(command -v uv) || uv=.venv/bin/uv
[ -x "$uv" ] || "$outside" -m pip --python "$inside" install \
    --quiet --disable-pip-version-check --constraint constraints.txt uv

if "$uv" pip install --quiet --python "$inside" --constraint constraints.txt "$@"; then
    exit
fi
echo "Not with uv. Trying with pip, which takes longer." >&2
"$outside" -m pip --python "$inside" install --quiet --disable-pip-version-check --constraint constraints.txt pip
"$inside" -m pip install --quiet --disable-pip-version-check --constraint constraints.txt "$@"

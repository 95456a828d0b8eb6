#!/usr/bin/env bash
# Resolve envs/direct.txt afresh in a throw-away environment and write the closed set that came out:
# lock.txt (wheels) and lock-source.txt (what must be built against the torch just installed).
set -euo pipefail
cd "$(dirname "$0")"
python=${PYTHON:-python3.11}
venv=$(mktemp -d)
trap 'rm -rf "$venv"' EXIT
"$python" -m venv "$venv"
grep -v '^sam2==' direct.txt > "$venv/direct.txt"
"$venv/bin/pip" install --quiet -r "$venv/direct.txt"
"$venv/bin/pip" install --quiet wheel hydra-core iopath pillow
SAM2_BUILD_CUDA=0 "$venv/bin/pip" install --quiet --no-build-isolation "$(grep -o '^sam2==[^ ]*' direct.txt)"
"$venv/bin/pip" check
"$venv/bin/python" freeze.py
# The light set: the same versions, as far as planning needs them.
"$venv/bin/pip" install --quiet --dry-run --ignore-installed -c lock.txt -r orchestrator.in --report "$venv/report.json"
"$venv/bin/python" freeze.py "$venv/report.json"

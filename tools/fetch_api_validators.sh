#!/bin/sh
# Fetches what checks descriptions of APIs, for the tests of suite `api-documents`: the Python package openapi-spec-validator from PyPI,
# and AsyncAPI's JSON schema from npm.
# usage: fetch_api_validators.sh [directory]    default: build/api-validators. Does nothing when they are there. Needs pip and npm.
set -eu

openapi=0.9.0
asyncapi=6.11.1
target=${1:-build/api-validators}

if [ -e "$target/asyncapi-$asyncapi.json" ]; then
    exit 0
fi
command -v npm >/dev/null || {
    echo "fetch_api_validators.sh: npm is not installed; install npm" >&2
    exit 1
}
python3 -m pip --version >/dev/null 2>&1 || {
    echo "fetch_api_validators.sh: pip is not installed; install python3-pip" >&2
    exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --no-warn-conflicts --root-user-action ignore --target "$work/python" "openapi-spec-validator==$openapi"
(cd "$work" && npm pack --silent "@asyncapi/specs@$asyncapi" >/dev/null && tar xzf asyncapi-specs-*.tgz)

# The schema that is looked for above comes last, so that an interrupted copy is done again.
mkdir -p "$target"
rm -rf "$target/python"
mv "$work/python" "$target/python"
mv "$work/package/schemas/3.0.0.json" "$target/asyncapi-$asyncapi.json"

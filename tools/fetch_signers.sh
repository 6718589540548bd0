#!/bin/sh
# Fetches the webhook providers' own libraries from the npm registry into a directory, for the tests of suite `signers`.
# usage: fetch_signers.sh [directory]    default: build/signers. Does nothing when they are there. Needs npm.
set -eu

target=${1:-build/signers}

if [ -e "$target/complete" ]; then
    exit 0
fi
command -v npm >/dev/null || {
    echo "fetch_signers.sh: npm is not installed; install npm" >&2
    exit 1
}
mkdir -p "$target"
cd "$target"
echo '{"private":true}' >package.json
npm install --ignore-scripts --no-audit --no-fund --loglevel=error \
    @octokit/webhooks-methods@6.0.0 stripe@23.1.0 standardwebhooks@1.1.1 cloudevents@10.0.0 >/dev/null
touch complete

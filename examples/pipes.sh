#!/usr/bin/env bash
# mmcli between find and jq: pipes.sh [FOLDER]
#
# Without a folder it takes the photographs of `mmcli demo`.
set -euo pipefail

if ! command -v jq > /dev/null; then
    echo "pipes.sh: jq is not installed, see https://jqlang.org"
    exit 0
fi
photos=${1:-mmcli-demo/photos}
if [ ! -d "$photos" ] && [ $# -eq 0 ]; then
    mmcli demo
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# find chooses the files, whatever stands in their names; jq picks from the report
find "$photos" \( -name '*.jpg' -o -name '*.png' \) -size +8k -print0 |
    mmcli extract - -0 -o "$work/store" --json -q | jq -c '{items, failed, bytes}'
mmcli retrieve index "$work/store" -o "$work/index" -q

# questions from a pipe, one a line; the best picture for each
printf '%s\n' "a cup of coffee" "a kitten" "a photographer with a tripod" |
    mmcli retrieve search "$work/index" --queries - -k 1 --format jsonl |
    jq -r '"\(.query) -> \(.image)"'

# what a search finds is what the next command reads
mmcli retrieve search "$work/index" "a vehicle" -k 3 --format jsonl | jq -r .image |
    mmcli extract - -o "$work/found" --image efficientnet-lite0 --json -q | jq -c .keys

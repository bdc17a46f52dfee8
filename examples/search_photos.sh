#!/usr/bin/env bash
# Search a folder of photographs by words:
#
#   search_photos.sh [FOLDER [WORDS [WORK]]]
#
# WORK keeps the store and the index, so that the next search is quick; remove it when the
# photographs change. Without a folder it takes the photographs of `mmcli demo`.
set -euo pipefail

photos=${1:-mmcli-demo/photos}
words=${2:-a cup of coffee}
work=${3:-photo-search}

if [ ! -d "$photos" ] && [ $# -eq 0 ]; then
    mmcli demo
fi
if [ ! -f "$work/index/manifest.json" ]; then
    mkdir -p "$work"
    # exit code 6: done, but some files could not be read; $work/store/failures.parquet names them
    mmcli extract "$photos" -o "$work/store" --only image --force || code=$?
    [ "${code:-0}" -eq 0 ] || [ "$code" -eq 6 ] || exit "$code"
    mmcli retrieve index "$work/store" -o "$work/index" --force
fi
mmcli retrieve search "$work/index" "$words" -k 5 --html "$work/found.html" --force

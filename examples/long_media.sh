#!/usr/bin/env bash
# Find the moment in long recordings and films, by what is said or shown:
#
#   long_media.sh FOLDER [WORDS [WORK]]
#
# Each file is cut into segments of ten seconds that begin every five. The answer is a line a file:
# its best segment, with start and end in seconds. Films need PyAV: pip install 'mmcli[video]'.
# With --soundtrack behind extract, what is said in films is found too.
set -euo pipefail

media=${1:?name a folder of recordings and films}
words=${2:-a cup of coffee}
work=${3:-long-media}

if [ ! -f "$work/index/manifest.json" ]; then
    mkdir -p "$work"
    # exit code 6: done, but some files could not be read; $work/store/failures.parquet names them
    mmcli extract "$media" -o "$work/store" --window 10s --hop 5s --force || code=$?
    [ "${code:-0}" -eq 0 ] || [ "$code" -eq 6 ] || exit "$code"
    # what is said and what is shown share one space; a folder may have only one of them
    mmcli retrieve index "$work/store" -o "$work/index" --modality speech,video --force 2>/dev/null ||
        mmcli retrieve index "$work/store" -o "$work/index" --force
fi
mmcli retrieve search "$work/index" "$words" --collapse parent_id -k 5

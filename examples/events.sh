#!/usr/bin/env bash
# Events twice, on data whose best possible score is known: posts with a picture, and recordings
# with things that happen at known times: events.sh [WORK [POSTS [RECORDINGS]]].
set -euo pipefail

posts=${2:-2000} recordings=${3:-600}
mkdir -p "${1:-events}"
cd "${1:-events}"

# Posts of a crisis: picture and words tell its type together. No event of the test rows is trained
# on; `--leave-out event` would hold each event out in turn.
mmcli data synth posts -o posts -n "$posts" --force
mmcli finetune --task event posts -o types --label event_type --group-by event --quality fast --force
mmcli predict types posts -o said --split test --force
mmcli evaluate predictions said

# Recordings: class, start and end of everything heard or seen, judged by the overlap in time.
mmcli data synth streams -o streams -n "$recordings" --force
mmcli finetune --task event streams -o segments --seeds 1 --force
mmcli predict segments streams -o found --split test --force
mmcli evaluate predictions found --task event

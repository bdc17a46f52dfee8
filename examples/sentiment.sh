#!/usr/bin/env bash
# Sentiment from words, voice and face, on clips whose best possible score is known:
# sentiment.sh [WORK [CLIPS]]. Speaks with eSpeak NG (`pip install 'mmcli[voices]'`).
set -euo pipefail

n=${2:-2000}
mkdir -p "${1:-sentiment}"
cd "${1:-sentiment}"

# Each clip is a drawn face, a spoken sentence and its words; sometimes they are at odds. No
# sentence and no speaker of the test rows is heard in training; clips/README.md has the ceilings.
mmcli data synth clips -o clips -n "$n" --force

# Features once, then fusions of them beside every single modality: the table has the correlation,
# both two-class accuracies, intervals, and whether the gain on the best single one is shown.
mmcli finetune --task sentiment clips -o model --force

# Raw files through the model's own encoders; the measures of CMU-MOSI; one clip by itself.
mmcli predict model clips -o predictions --split test --force
mmcli evaluate predictions predictions --task sentiment
mmcli predict model --text "The game was wonderful." --image clips/images/000000.png

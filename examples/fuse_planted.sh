#!/usr/bin/env bash
# Does fusing help? On data where the answer is known: fuse_planted.sh [WORK [METHOD]].
set -euo pipefail

method=${2:-hybrid:low-rank}
mkdir -p "${1:-planted}"
cd "${1:-planted}"

# Rows whose label is the XOR of one bit a modality, rows that only one modality knows, rows that
# both know alike; the best possible accuracy of every subset of modalities is in the report.
mmcli data synth planted -o store -n 4000 --synergistic 0.4 --complementary 0.3 --redundant 0.3 \
    --noisy 0 --force

# The method beside each modality alone, concatenation and the mean of both, with intervals.
mmcli fuse train store -o model --label label --method "$method" --seeds 3 --force

# Predictions of the test rows, what each modality added to each of them, and every measure.
mmcli predict model store -o predictions --split test --contributions --force
mmcli evaluate predictions predictions

# What is left when a modality gets noisy, is missing, or is someone else's.
mmcli evaluate robustness model store --bootstrap 200

# The fused embeddings are a store like any other.
mmcli fuse apply model store -o fused --force

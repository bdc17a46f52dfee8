#!/usr/bin/env bash
# Questions about pictures of shapes, answered by a model that sees both, beside what the question
# alone and the picture alone can say: vqa.sh [SCENES [EPOCHS]].
set -euo pipefail

n=${1:-4000}
epochs=${2:-36}

# Two scenes of a pair have the same words and the same questions, and other answers: whoever reads
# only the questions cannot tell them apart. The README says how good one can be without pictures.
mmcli data synth scenes -n "$n" -o scenes --force

# Each picture and each different question is encoded once, then three models learn on that.
mmcli finetune --task vqa scenes -o answers-model --force \
    --group-by pair_id --epochs "$epochs" --seeds 1

# What it says of pictures that it has never seen, and how sure it is.
mmcli predict answers-model scenes -o answers --split test --force

# The score of each type of question, with intervals over pictures.
mmcli evaluate predictions answers --task vqa

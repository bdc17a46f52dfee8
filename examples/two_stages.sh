#!/usr/bin/env bash
# Captioned pictures first, fifty labels after: two_stages.sh [WORK [N [DRAWS]]].
# About ten minutes on two cores. The second stage sees pictures alone.
set -euo pipefail

n=${2:-1200} draws=${3:-5}
mkdir -p "${1:-two-stages}/models"
cd "${1:-two-stages}"
pictures=(--image conse-efficientnet-lite0 --image efficientnet-lite0)

# One: pairs of picture and caption, no labels. Test rows teach nothing, here or below.
mmcli data synth scenes -o scenes -n "$n" --force -q
mmcli finetune --task pretrain scenes -o first --only text,image "${pictures[@]}" --seeds 1 --force

# Two: fifty pictures and how their shapes are laid out, with the encoders alone and with what the
# first stage made of them; another fifty for each draw. Nothing is left to validate on, so every
# epoch is made.
second=(--task classification --label layout --only image --method early:concat --quality fast
    --seeds 3 --val-fraction 0 --epochs 60 --force)
for draw in $(seq "$draws"); do
    awk -v last=$((50 * draw)) '/"split": "test"/
        /"split": "train"/ && ++row > last - 50 && row <= last' scenes/items.jsonl > scenes/few.jsonl
    mmcli finetune scenes/few.jsonl -o "models/$draw-alone" "${pictures[@]}" "${second[@]}"
    mmcli finetune scenes/few.jsonl -o "models/$draw-staged" --from first "${second[@]}"
done
mmcli runs models

#!/usr/bin/env bash
# Who has which colour? Captions of the same words, bound to each other otherwise, found by a
# retriever of one vector each and re-ranked by cross-attention over tokens and patches:
# align_scenes.sh [WORK] [N]. About ten minutes for N=4000 on two cores; a few hundred teach little.
set -euo pipefail

mkdir -p "${1:-scene-search}"
cd "${1:-scene-search}"

# The fourth layer of the text encoder still knows which word is which; the last blends them.
mmcli data synth scenes -o scenes -n "${2:-4000}" --force -q
mmcli extract scenes -o store --only text,image --image efficientnet-lite0 --sequence --layers 4 \
    --store-dtype fp16 --force
between=(--between text,image --keys text:minilm-l6@4,image)
mmcli align train store -o retriever "${between[@]}" --method contrastive --force
mmcli align train store -o reranker "${between[@]}" --method cross-attention --force

# The test split, before and after; the best that words without their order can do is in
# scenes/README.md, close to one half.
mmcli evaluate retrieval store --query text --target image --aligner retriever \
    --rerank reranker --rerank-top 10 -k 1,5 --html page.html --force

# What each word of a caption finds in the picture.
first=$(head -n 1 scenes/items.jsonl | sed 's/{"id": "\([^"]*\)".*/\1/')
mmcli align attention reranker store --id "$first" -o "$first.png" --force -q

#!/usr/bin/env bash
# Align captions and pictures of Tux Paint's stamps, five folds by caption, before and after:
# align_stamps.sh [WORK [METHODS]], on Debian and Ubuntu. The package is unpacked, not installed.
set -euo pipefail

methods=${2:-linear:ridge,linear:procrustes,linear:cca,linear:kernel,contrastive,dual}
mkdir -p "${1:-tuxpaint}"
cd "${1:-tuxpaint}"
if [ ! -d usr ]; then
    if ! command -v apt-get > /dev/null || ! command -v dpkg-deb > /dev/null ||
        ! apt-get download -q tuxpaint-stamps-default; then
        echo "align_stamps.sh: apt cannot get tuxpaint-stamps-default here, nothing done"
        exit 0
    fi
    dpkg-deb -x tuxpaint-stamps-default_*.deb .
fi

# A table of pictures and captions; a caption is line 1 of the text file.
printf 'image\ttext\tcaption\n' > pairs.tsv
find usr/share/tuxpaint/stamps -name '*.png' | LC_ALL=C sort | while read -r picture; do
    [ -f "${picture%.png}.txt" ] || continue # mirror images have none
    read -r caption < "${picture%.png}.txt"
    printf '%s\t%s\t%s\n' "$picture" "$caption" "$caption"
done >> pairs.tsv
mmcli extract pairs.tsv -o pairs --force \
    --image conse-efficientnet-lite0 --image efficientnet-lite0

# Five folds by sha256 of the caption, so that no caption is in two; everything a method chooses,
# it chooses on the four folds that it may see. The first row is the space as it was extracted.
mmcli data split pairs -o folds.parquet --folds 5 --group-by caption --method hash --force
mmcli align compare pairs --between text,image --positive-by caption --split-file folds.parquet \
    --method "$methods"

"""Which file name stands for which modality: names only, no file is opened.

EPS, PS, WMF and PDF are left out on purpose: Pillow hands them to other programs.
"""

_NAMES = {
    "image": "jpg jpeg jpe jfif png apng gif bmp dib tif tiff webp avif avifs jp2 j2k jpx jpf jpc "
    "ppm pgm pbm pnm pfm tga icb vda vst ico cur icns pcx sgi rgb rgba bw psd qoi dds xbm xpm ras "
    "im mpo",
    "text": "txt",
    "speech": "wav flac ogg oga opus mp3 aiff aif aifc au snd m4a m4b aac wma amr",
    "video": "mp4 m4v mkv webm mov avi mpg mpeg",
}
#: Sound in the containers of films, or coded as theirs: FFmpeg reads it, libsndfile does not.
FILM_SOUND = frozenset({".m4a", ".m4b", ".aac", ".wma", ".amr"})
_MODALITIES = {f".{name}": modality for modality, names in _NAMES.items() for name in names.split()}
TABLE_KINDS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
}


def split_suffix(path: str) -> tuple[str, str]:
    """The path without its last suffix, and that suffix in lower case (`cat.JPG` → `cat`, `.jpg`).

    A leading dot starts no suffix, and a suffix holds no space: `No. 5` has none.
    """
    slash = path.rfind("/")
    dot = path.rfind(".")
    if dot <= slash + 1 or " " in path[dot:]:
        return path, ""
    return path[:dot], path[dot:].lower()


def modality_of(suffix: str) -> str | None:
    """The modality of files with that lower-case suffix, None when there is none."""
    return _MODALITIES.get(suffix)

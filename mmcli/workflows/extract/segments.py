"""What `--window`, `--hop` and `--soundtrack` make of a source, once its encoders are known."""

from collections.abc import Sequence
from pathlib import Path

from mmcli.core.errors import UsageError
from mmcli.data.segments import Cutting, cut_source
from mmcli.data.source import Source
from mmcli.data.windows import check_token_limit, parse_windows
from mmcli.encoders.token_offsets import TokenOffsets
from mmcli.engine.shards import KeyPlan
from mmcli.workflows.extract.plan import ExtractConfig


def modalities_to_embed(config: ExtractConfig, source: Source) -> list[str]:
    """The parts that the source has or, with `--soundtrack`, will have.

    Raises MissingResource for videos without PyAV, UsageError for windows over parts that are not
    there.
    """
    found = list(source.modalities)
    if config.soundtrack and "video" not in found:
        raise UsageError("`--soundtrack`: the source has no videos", "leave it out")
    if config.soundtrack and "speech" not in found:
        found.insert(found.index("video"), "speech")
    wanted = [m for m in found if not config.only or m in config.only]
    windows = parse_windows(config.window, config.hop)
    if windows and not set(windows) & set(wanted):
        raise UsageError(
            f"`--window` is for {' and '.join(windows)}, of which the source has none",
            f"parts to embed: {', '.join(wanted) or 'none'}",
        )
    if "video" in wanted or config.soundtrack:
        from mmcli.data.media_container import load_av

        load_av()
    return found


def check_frames(config: ExtractConfig, plans: Sequence[KeyPlan]) -> None:
    """Raise UsageError where `--frames` is not what a video model was made for."""
    for plan in plans:
        takes = getattr(plan.encoder.recipe, "frames", None)
        if config.frames is not None and takes is not None and takes != config.frames:
            raise UsageError(
                f"`--frames {config.frames}`: `{plan.encoder.card.name}` takes {takes}",
                "leave it out",
            )


def cut_into_segments(
    config: ExtractConfig, source: Source, plans: Sequence[KeyPlan], spool: Path
) -> Source:
    """The source with a row a segment; the same source where nothing is to be cut."""
    check_frames(config, plans)
    embedded = {plan.encoder.card.modality for plan in plans}
    windows = parse_windows(config.window, config.hop)
    windows = {modality: w for modality, w in windows.items() if modality in embedded}
    if not windows and not config.soundtrack:
        return source
    tokens = None
    if "text" in windows:
        text = next(plan.encoder for plan in plans if plan.encoder.card.modality == "text")
        tokens = TokenOffsets(text)
        check_token_limit(windows, tokens.limit, text.card.name)
    return cut_source(source, Cutting(windows, tokens, config.soundtrack), spool)

"""`evaluate retrieval`: how well each of two modalities finds the other, with intervals.

Both directions, exact ranks, in bounded memory; differences to another space on the same queries;
TREC files and a page. Prints nothing.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmcli.core.errors import BadInput, UsageError
from mmcli.metrics.relevance import (
    Relevance,
    relevance_by_judgement,
    relevance_by_value,
)
from mmcli.metrics.statistics import LEVEL
from mmcli.store.reader import Store
from mmcli.workflows.evaluate.against import other_sides
from mmcli.workflows.evaluate.resampling import interval_warnings
from mmcli.workflows.evaluate.retrieval_config import RetrievalConfig, check_config, check_sides
from mmcli.workflows.evaluate.retrieval_scores import (
    Reranking,
    Scored,
    Setting,
    compare,
    score_queries,
    slices,
    summarise,
)
from mmcli.workflows.evaluate.rows import Chosen, Rows, choose_rows, column_codes, column_groups
from mmcli.workflows.evaluate.space_report import diagnose
from mmcli.workflows.evaluate.trec_files import (
    Judged,
    read_qrels,
    transposed,
    trec_id,
    unknown_ids,
)
from mmcli.workflows.evaluate.vectors import (
    Side,
    device_for_scores,
    load_side,
    open_aligner,
    resolve_names,
)
from mmcli.workflows.listeners import Listeners
from mmcli.workflows.trained_rows import seen_warning

#: Values of a sliced column, each of which has intervals of its own.
MOST_SLICES = 1000

if TYPE_CHECKING:
    from mmcli.workflows.rerank import Reranker


@dataclass(frozen=True)
class Direction:
    """One direction, scored. before: without the re-ranker, where there is one."""

    queries: Side
    targets: Side
    relevant: Relevance
    scored: Scored
    reranking: Reranking | None = None
    before: Scored | None = None

    @property
    def name(self) -> str:
        """As in `text-to-image`."""
        return f"{self.queries.name}-to-{self.targets.name}"

    @property
    def scored_rows(self) -> Rows:
        """The rows of the store whose queries were scored."""
        return self.queries.rows[self.scored.queries]


def evaluate_retrieval(
    config: RetrievalConfig, listeners: Listeners | None = None
) -> dict[str, Any]:
    """Score both directions and report; write the files that were asked for.

    Raises UsageError for options that do not fit, BadInput for a store that cannot be scored,
    SpaceMismatch for two keys that may not be compared.
    """
    listeners = listeners or Listeners()
    check_config(config)
    store = Store.open(config.store, config.verify)
    aligner = open_aligner(config.aligner)
    names = resolve_names(store, (config.query, config.target), aligner)
    same = names[0] == names[1]
    if same and config.relevant_by is None and config.qrels is None:
        raise UsageError(
            f"`{names[0]}` against itself: each row would only find itself",
            "say which others are right: `--relevant-by COLUMN` or `--qrels FILE`",
        )
    for column in (config.relevant_by, config.splits.group_by, *config.slices):
        if column is not None:
            _, values = column_codes(store, column, np.zeros(0, np.int64))
            if column in config.slices and len(values) > MOST_SLICES:
                raise BadInput(
                    f"`--slice {column}`: it has {len(values)} values, too many to score each",
                    f"slice by a column of at most {MOST_SLICES} values",
                )
    chosen = choose_rows(store, config.splits, config.split)
    ids = store.ids()
    judged = None if config.qrels is None else read_qrels(config.qrels, ids)
    query = load_side(store, names[0], chosen.rows, aligner)
    target = query if same else load_side(store, names[1], chosen.rows, aligner)
    check_sides(config, query, target)
    setting = Setting(
        ks=config.ks,
        ties=config.ties,
        resamples=config.bootstrap,
        seed=config.seed,
        device=device_for_scores(config.device),
    )
    reranker = _open_reranker(config, store, query, target)
    work = _Work(config, store, ids, judged, setting, listeners, reranker)
    pairs = [(query, target, False)] + ([] if same else [(target, query, True)])
    directions = [work.direction(*pair) for pair in pairs]
    report = _head(config, chosen, query)
    report["warnings"] = seen_warning(aligner, store, chosen.rows)
    if reranker is not None:
        report["warnings"] += seen_warning(reranker.scorer, store, chosen.rows)
    others: list[Scored] = []
    if config.against is not None:
        other, warnings = other_sides(config.against, store, query, target, config.verify)
        report["warnings"] += warnings
        swapped = [other] + ([] if same else [(other[1], other[0])])
        others = [
            work.score(side[0], side[1], direction.relevant, ids)
            for side, direction in zip(swapped, directions, strict=True)
        ]
    report["directions"] = {
        direction.name: work.report(direction, others[i] if others else None)
        for i, direction in enumerate(directions)
    }
    drawn = min(found["resampled"] for found in report["directions"].values())
    report["warnings"] += interval_warnings(config.bootstrap, drawn)
    if judged is not None:
        report["warnings"] += unknown_ids(judged, ids)
    report["diagnostics"] = diagnose(query, target, config.seed)
    work.write_files(directions, report)
    return report


class _Work:
    """What every direction shares."""

    def __init__(
        self,
        config: RetrievalConfig,
        store: Store,
        ids: list[str],
        judged: Judged | None,
        setting: Setting,
        listeners: Listeners,
        reranker: "Reranker | None",
    ) -> None:
        self.config = config
        self.store = store
        self.ids = ids
        self.judged = judged
        self.setting = setting
        self.listeners = listeners
        self.reranker = reranker

    def direction(self, queries: Side, targets: Side, reverse: bool) -> Direction:
        """Score one direction. Raises BadInput when no query has anything relevant."""
        relevant = self._relevance(queries, targets, reverse)
        scored = self.score(queries, targets, relevant, self.ids)
        if not len(scored.queries):
            raise BadInput(*self._nothing_relevant(queries, targets))
        if self.reranker is None:
            return Direction(queries, targets, relevant, scored)
        from mmcli.workflows.evaluate.rerank import reranking

        total = len(queries.rows)
        order = reranking(
            self.reranker,
            queries,
            targets,
            self.config.rerank_top,
            lambda done: self.listeners.progress(done, total),
        )
        after = self.score(queries, targets, relevant, self.ids, order)
        return Direction(queries, targets, relevant, after, order, before=scored)

    def score(
        self,
        queries: Side,
        targets: Side,
        relevant: Relevance,
        ids: list[str],
        order: Reranking | None = None,
    ) -> Scored:
        """The measures of every query with something relevant."""
        total = len(queries.rows)
        self.listeners.message(f"{total} {queries.name} against {len(targets.rows)} {targets.name}")
        return score_queries(
            queries.vectors,
            targets.vectors,
            relevant,
            self.setting,
            tie_order=_trec_order(ids, targets.rows) if self.config.ties == "trec" else None,
            reranking=order,
            on_queries=None if order else lambda done: self.listeners.progress(done, total),
        )

    def report(self, direction: Direction, other: Scored | None) -> dict[str, Any]:
        """What is reported of one direction."""
        rows, scored = direction.scored_rows, direction.scored
        column = self.config.splits.group_by or self.config.relevant_by
        groups = column_groups(self.store, column, rows)
        found: dict[str, Any] = {
            "queries": len(rows),
            "targets": len(direction.targets.rows),
            "queries_without_vector": direction.queries.lacking,
            "targets_without_vector": direction.targets.lacking,
            "queries_without_relevant": len(direction.queries.rows) - len(rows),
            "resampled": len(rows) if groups is None else int(groups.max()) + 1,
            "measures": summarise(scored, self.setting, groups),
        }
        if direction.before is not None:
            found["before_reranking"] = compare(scored, direction.before, self.setting, groups)
        if other is not None:
            found["against"] = compare(scored, other, self.setting, groups)
        if self.config.slices:
            found["slices"] = {
                name: slices(scored, self.setting, *column_codes(self.store, name, rows), groups)
                for name in self.config.slices
            }
        return found

    def write_files(self, directions: list[Direction], report: dict[str, Any]) -> None:
        """The run, the qrels and the page, where they were asked for."""
        config = self.config
        if config.run or config.qrels_out:
            from mmcli.workflows.evaluate.retrieval_files import write_qrels, write_run

            if config.run:
                write_run(Path(config.run), directions[0], self.ids, config.run_depth, self.setting)
            if config.qrels_out:
                write_qrels(Path(config.qrels_out), directions[0], self.ids)
        if config.html:
            from mmcli.workflows.evaluate.retrieval_page import write_page

            write_page(Path(config.html), self.store, directions, report, config, self.setting)

    def _relevance(self, queries: Side, targets: Side, reverse: bool) -> Relevance:
        same = queries.name == targets.name
        own = np.arange(len(queries.rows)) if same else None
        if self.judged is not None:
            judged = transposed(self.judged) if reverse else self.judged
            found = relevance_by_judgement(
                [self.ids[row] for row in queries.rows],
                [self.ids[row] for row in targets.rows],
                judged,
            )
            return Relevance(found.set_of, found.indptr, found.indices, found.gains, own)
        if self.config.relevant_by is None:
            return relevance_by_value(queries.rows.tolist(), targets.rows.tolist())
        of = [
            [code if code >= 0 else None for code in codes.tolist()]
            for codes, _ in (
                column_codes(self.store, self.config.relevant_by, side.rows)
                for side in (queries, targets)
            )
        ]
        return relevance_by_value(of[0], of[1], own)

    def _nothing_relevant(self, queries: Side, targets: Side) -> tuple[str, str]:
        where = f"`{self.config.store}`"
        if self.config.qrels is not None:
            return (
                f"`{self.config.qrels}` judges no `{targets.name}` for any `{queries.name}` of"
                f" {where}",
                "its queries and targets are ids of items; check `--split`",
            )
        if self.config.relevant_by is not None:
            return (
                f"no `{queries.name}` and `{targets.name}` of {where} share a value of"
                f" `{self.config.relevant_by}`",
                "choose another column, or `--split all`",
            )
        return (
            f"no row of {where} has both `{queries.name}` and `{targets.name}`",
            "pairs come from rows; `--relevant-by COLUMN` pairs them otherwise",
        )


def _open_reranker(
    config: RetrievalConfig, store: Store, query: Side, target: Side
) -> "Reranker | None":
    if config.rerank is None:
        return None
    from mmcli.workflows.evaluate.rerank import check_pair
    from mmcli.workflows.rerank import Reranker

    reranker = Reranker.open(config.rerank, store, config.device, config.precision, config.verify)
    check_pair(reranker, query, target)
    return reranker


def _head(config: RetrievalConfig, chosen: Chosen, query: Side) -> dict[str, Any]:
    relevant = config.relevant_by or (f"qrels {config.qrels}" if config.qrels else "row")
    return {
        "store": config.store,
        "aligner": config.aligner,
        "rerank": config.rerank,
        "rerank_top": config.rerank_top if config.rerank else None,
        "against": config.against,
        "space": query.space,
        "split": chosen.split,
        "split_source": chosen.source,
        "rows": len(chosen.rows),
        "relevant_by": relevant,
        "ties": config.ties,
        "intervals": {
            "level": LEVEL,
            "resamples": config.bootstrap,
            "groups": config.splits.group_by or config.relevant_by,
            "seed": config.seed,
        },
    }


def _trec_order(ids: list[str], rows: Rows) -> Rows:
    """The targets by descending id, the order in which trec_eval lists equal scores."""
    names = [trec_id(ids[row]) for row in rows]
    return np.array(sorted(range(len(rows)), key=names.__getitem__, reverse=True), np.int64)

"""Where the weights of a blend are learned: the training part cut once more, as the whole was."""

from dataclasses import fields, replace

from jaxrec.data.dataset import Dataset
from jaxrec.data.holdout import Holdout, HoldoutRule, RandomPerUser, TimeCutoff
from jaxrec.data.interactions import Interactions
from jaxrec.errors import DataError


def inner_folds(rule: HoldoutRule | None, dataset: Dataset, log: Interactions, count: int) -> list[Holdout]:
    """Up to `count` splits of `log` whose training part is train and validation, and whose test is to be learned from.

    A rule that draws (it has a seed) draws anew for each; one that cuts by time cuts what the last cut left, so each
    later fold lies further back. TimeCutoff also gives one whose test is all of the later half, as the second: how far
    ahead the weights will serve is not known, and what is asked for today says less of next year.
    rule: None, or one that reads ready parts, stands for TimeCutoff where the log has times, else RandomPerUser. Stops
    early where too little is left; raises DataError where not even one split can be.
    """
    if rule is None or not _cuts_logs(rule):
        rule = TimeCutoff() if len(log) and log.timestamps.min() < log.timestamps.max() else RandomPerUser()
    found: list[Holdout] = []
    for fold in range(count):
        own = replace(rule, seed=rule.seed + 1 + fold) if hasattr(rule, "seed") else rule
        try:
            holdout = own(replace(dataset, interactions=log)).refit()
        except DataError:
            if not found:
                raise
            break
        found.append(holdout)
        if isinstance(rule, TimeCutoff) and fold == 0 and count > 1:
            found += _far(rule, dataset, log)
        if not hasattr(rule, "seed"):
            log = holdout.train
    return found[:count]


def _far(rule: TimeCutoff, dataset: Dataset, log: Interactions) -> list[Holdout]:
    """The split in halves, where it leaves something to train on and to judge."""
    try:
        return [replace(rule, valid_fraction=0.1, test_fraction=0.5)(replace(dataset, interactions=log)).refit()]
    except DataError:
        return []


def _cuts_logs(rule: HoldoutRule) -> bool:
    return not {"valid", "test"} <= {field.name for field in fields(rule)}

"""A labelling project: a folder with a label store, what its questions are about, and how they are chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from pbrl.building import build, maker_of
from pbrl.checks import one_of, whole
from pbrl.config import compose_config, config_dir, load_config
from pbrl.data.datasets import Dataset, is_dataset, load_dataset
from pbrl.data.env_of_data import env_overrides
from pbrl.data.stored_videos import StoredFrames, StoredVideos
from pbrl.errors import UserError, is_name
from pbrl.files import new_folder, no_folder, replacing
from pbrl.labelling.choosing import KINDS, RANKING, Chooser, EpisodeChooser, SegmentChooser
from pbrl.labels.recorded import read_source, write_source
from pbrl.question_kinds import SegmentPair
from pbrl.teachers.human import NO_TRAINING
from pbrl.viewer.opened import find_opened
from pbrl.viewer.settings import viewer_section

SECTION = "labelling"  # of config.yaml, which only projects have
MOST_ITEMS = 9  # that the page can show


@dataclass(frozen=True)
class Plan:
    """The settings of a project: what is asked, and how much.

    Args:
        questions: in all.
        per_session: how many at a time; a reward that chooses learns in between.
        kind: see `pbrl.labelling.choosing.KINDS`.
        items: of a ranking.
        segment_length: steps; None: that of the segments of the data.
        criterion: what answers are about.
    """

    questions: int = 200
    per_session: int = 20
    kind: str = SegmentPair.kind
    items: int = 4
    segment_length: int | None = None
    criterion: str = "overall"
    seed: int = 0

    def __post_init__(self) -> None:
        whole(1, pairs=self.questions, per_session=self.per_session)
        whole(0, seed=self.seed)
        whole(2, items=self.items)
        one_of(KINDS, kind=self.kind)
        if self.items > MOST_ITEMS:
            raise UserError(f"items={self.items}: expected 2 to {MOST_ITEMS}, as the page shows them side by side")
        if self.segment_length is not None:
            whole(1, segment_length=self.segment_length)
        if not is_name(self.criterion):
            raise UserError(f"criterion={self.criterion!r}: expected a word")


@dataclass(frozen=True)
class Project:
    folder: Path
    plan: Plan
    chooser: Chooser
    overlap: int  # people who answer each question
    made: bool  # just now


def open_project(
    out: Path,
    data: Path | None,
    plan: Mapping[str, Any],
    config: Sequence[str],
    viewer: dict[str, str],
    config_folder: str | None = None,
) -> Project:
    """Open the project in `out`: a new one about `data`, or the one that was begun there, which must be the same.

    plan: what was said of `Plan`. config: overrides of the groups queries and env. viewer: settings of its viewer.
    """
    if not out.exists():
        return _begin(out, data, plan, config, viewer, config_folder)
    if not (out / "config.yaml").is_file():
        raise UserError(f"out={out} is there already and is no labelling project; valid is a new folder")
    known = load_config(out / "config.yaml")
    if SECTION not in known:
        raise UserError(f"out={out} is a run, expected a new folder or a labelling project; pbrl label run={out}")
    return _go_on(out, known, data, plan, config, viewer)


def is_project(folder: Path) -> bool:
    return (folder / "config.yaml").is_file() and SECTION in load_config(folder / "config.yaml")


def _begin(
    out: Path,
    data: Path | None,
    given: Mapping[str, Any],
    overrides: Sequence[str],
    viewer: dict[str, str],
    config_folder: str | None,
) -> Project:
    if data is None:
        raise UserError("data= is missing: a data set, as data=data/clips; `pbrl data import` makes one of recordings")
    dataset, plan = _load(data), _plan(given)
    _require_states(dataset)
    folders = [*([Path(config_folder).resolve()] if config_folder else []), config_dir()]
    config = _compose(dataset, overrides, folders, config_folder)
    config.viewer = viewer_section(config, viewer)
    chooser = _chooser(dataset, plan, config, said="questions" in given)
    plan = replace(plan, questions=min(plan.questions, chooser.possible))
    config[SECTION], config.data = asdict(plan), str(data.resolve())
    _require_pictures(dataset, str(config.viewer.camera))
    with new_folder(out, private=True) as folder:
        write_source(folder, dataset)
        OmegaConf.save(config, folder / "config.yaml")
    return Project(out, plan, chooser, config.viewer.overlap, made=True)


def _go_on(
    out: Path,
    config: DictConfig,
    data: Path | None,
    given: Mapping[str, Any],
    overrides: Sequence[str],
    viewer: dict[str, str],
) -> Project:
    """Go on with a project as it was begun, save for more questions, and another viewer."""
    before = Plan(**{str(k): v for k, v in config[SECTION].items()})
    plan = _plan({**asdict(before), **given})
    words = [f"{key}={value}" for key, value in given.items() if key != "questions" and value != asdict(before)[key]]
    words += [text for text in overrides if _said(config, text)]
    if data is not None and data.resolve() != Path(config.data):
        words.insert(0, f"data={data}")
    if words:
        raise UserError(f"{words[0]}: out={out} was begun otherwise, see its config.yaml; leave it out, or begin anew")
    dataset = _load(Path(config.data))
    if dataset.meta["sha256"] != (read_source(out).get("data") or {}).get("sha256"):
        raise UserError(f"data={config.data} is not what out={out} was begun with; put the old files back")
    chooser, section = _chooser(dataset, plan, config), viewer_section(config, viewer)
    if plan != before:
        if (opened := find_opened(out)) is not None and opened.answers():
            raise UserError(f"a viewer of {out} is open at {opened.url}; end it to ask for other than it does")
        config[SECTION] = asdict(plan)
        with replacing(out / "config.yaml", private=True) as partial:
            OmegaConf.save(config, partial)
    return Project(out, plan, chooser, section.overlap, made=False)


def _plan(given: Mapping[str, Any]) -> Plan:
    try:
        return Plan(**given)
    except ValueError as error:
        raise UserError(str(error)) from None


def _said(config: DictConfig, text: str) -> bool:
    """Return whether an override is another than that of a project."""
    key, _, value = text.partition("=")
    if key == "queries":
        return bool(config.queries != compose_config([text]).queries)
    found = OmegaConf.select(config, key.lstrip("+"))
    return (config.env.name if key == "env" else str(found)) != value


def _load(data: Path) -> Dataset:
    if not data.is_dir():
        raise UserError(f"data={data}: {no_folder(data)}; `pbrl data import` makes a data set of recordings")
    if not is_dataset(data):
        raise UserError(f"data={data} is no data set; `pbrl data import` and `pbrl collect` make one")
    return load_dataset(data)


def _compose(
    dataset: Dataset, overrides: Sequence[str], folders: Sequence[Path], config_folder: str | None
) -> DictConfig:
    """Return what config.yaml says; the reward that samplers ask is PEBBLE's."""
    keys = {text.partition("=")[0] for text in overrides}
    stored = "videos" in dataset.meta
    if "env" not in keys:
        overrides = [*(["env=none"] if stored else env_overrides(dataset.path, folders)), *overrides]
    if "queries" not in keys:
        overrides = ["queries=uniform", *overrides]
    whole = compose_config(list(overrides), config_folder)
    parts: Any = {key: whole[key] for key in ("threads", "env", "queries", "viewer")}
    if whole.env.make is None:
        whole.env.name = dataset.path.name  # which people see
    reward = {"model": whole.method.model, "fit": whole.method.fit}
    nothing: dict[str, Any] = {"steps": 0, "agent": {}, "method": {"name": "none"}}
    return OmegaConf.create({**nothing, "teacher": NO_TRAINING, **parts, "reward": reward})


def _chooser(dataset: Dataset, plan: Plan, config: DictConfig, *, said: bool = True) -> Chooser:
    """Make a chooser. said: whether the user gave the number of questions, or there may be fewer."""
    sampler = maker_of(config.queries, "queries")
    about: dict[str, Any] = {"criterion": plan.criterion, "seed": plan.seed}
    chooser: Chooser
    if plan.kind == SegmentPair.kind:
        length = plan.segment_length or int(dataset.meta["segment_length"])
        make_model, fit = build(config.reward.model), build(config.reward.fit)
        choose, name = (sampler if sampler.settings else sampler.target), sampler.target.__name__
        chooser = SegmentChooser(dataset, length, choose, name=name, make_model=make_model, fit=fit, **about)
        what = f"{chooser.possible} different pairs of segments of {length} steps"
    else:
        if sampler.target.__name__ != "uniform":
            raise UserError(f"kind={plan.kind} asks about whole episodes, at random; valid is queries=uniform")
        if plan.segment_length is not None:
            raise UserError(f"segment_length={plan.segment_length}: kind={plan.kind} asks about whole episodes")
        chooser = EpisodeChooser(dataset, plan.kind, plan.items, **about)
        what = f"{chooser.possible} different questions about {len(dataset.episodes)} episodes"
    if plan.kind != RANKING and plan.items != Plan.items:
        raise UserError(f"items={plan.items}: kind={plan.kind} has its own number; items= is for kind={RANKING}")
    if chooser.possible < (plan.questions if said else 1):
        raise UserError(f"pairs={plan.questions}: {dataset.path} has {what}; valid is that many at most")
    return chooser


def _require_states(dataset: Dataset) -> None:
    """Refuse what has nothing to draw clips from."""
    if any(episode.states is None for episode in dataset.episodes):
        raise UserError(
            f"data={dataset.path} has nothing to show: no videos, and no states of a simulator; import it with its "
            "videos, or collect it with states=true or frames=true"
        )


def _require_pictures(dataset: Dataset, camera: str) -> None:
    """Refuse what cannot be shown, before a folder is made: people would wait for clips that never come."""
    if "videos" not in dataset.meta:
        return
    videos = StoredVideos.of(dataset.meta["videos"], dataset.path / "meta.json")
    for number in range(len(videos.files)):
        videos.path(number, dataset.path)
    frames = StoredFrames(videos, dataset.path)
    first = dataset.episodes[0].states
    assert first is not None
    shown = [name for name in frames.cameras if not np.isnan(first[0, 2 * frames.cameras.index(name)])]
    wanted = camera if camera in frames.cameras else next(iter(shown), frames.cameras[0])
    try:
        next(frames.frames(first[:1], wanted))
    finally:
        frames.close()

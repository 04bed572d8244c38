"""Index files of Preference Transformer, Uni-RLHF and DPPO: start rows in a published data set, and the answers."""

from __future__ import annotations

from pathlib import Path

from pbrl.data.formats.reader import Answered, Format, Option, Options, whole_number


def read(path: Path, options: Options, scratch: Path) -> Answered:
    from pbrl.labels.import_indices import read_answers

    return read_answers(
        path,
        indices=(Path(options["indices"]), Path(options["indices_2"])),
        labels=Path(options["labels"]),
        length=whole_number(options, "segment_length", 1),
        annotator=options.get("annotator", "imported"),
        clip=options.get("clip") == "true",
        drop=options.get("drop") == "true",
    )


FORMAT = Format(
    name="preference_transformer",
    about="start indices and labels of Preference Transformer, Uni-RLHF or DPPO; FILE is the data that they count "
    "rows of: D4RL's HDF5, an npz of its arrays or of what qlearning_dataset returned, or robomimic's HDF5",
    is_one=lambda path: False,  # the data alone are another format
    read_answers=read,
    options=(
        Option("indices", "a file of plain arrays, as indices=indices.npy", needed=True),
        Option("indices_2", "a file of plain arrays, as indices_2=indices_2.npy", needed=True),
        Option("labels", "a file of plain arrays, as labels=labels.npy", needed=True),
        Option("segment_length", "steps of a segment, as segment_length=100", needed=True),
        Option("drop", "drop=true leaves out comparisons that cross an episode"),
    ),
)

"""Pairwise RLHF on the pictures that RAPL sees: a reward of frames whose sum explains which video is preferred."""

from __future__ import annotations

import torch

from pbrl.data.videos import VideoPairs, Videos
from pbrl.feedback.told_videos import ToldVideos
from pbrl.feedback.triplets import uniform_pairs
from pbrl.methods.video import VideoMethod
from pbrl.question_kinds import EpisodePair


class VideoReturn(VideoMethod):
    """Asks which of two videos is preferred; `model` is a `rewards.video_return.VideoReturn`."""

    accelerated = True
    asks = (EpisodePair,)
    stands_for = "pairs"

    def ask(self, videos: Videos, n: int, rng: torch.Generator) -> VideoPairs:
        return self.run.desk.ask_pairs(videos, uniform_pairs(len(videos), n, rng))

    def said(self, told: ToldVideos) -> VideoPairs:
        return told.as_pairs()

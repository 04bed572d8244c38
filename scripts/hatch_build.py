"""Puts configs/ into the wheel as pbrl/configs; an editable install reads the checkout's."""

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CustomBuildHook(BuildHookInterface):
    def initialize(self, version: str, build_data: dict) -> None:
        if version == "standard":
            build_data["force_include"]["configs"] = "pbrl/configs"

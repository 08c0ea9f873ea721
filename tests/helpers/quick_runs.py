"""Imported by configs of trainings of seconds: leaves out most of their time, formatting configs and drawing."""

import yapf.yapflib.yapf_api

from mmcnv2.engine.hooks import CurvesHook


def _as_it_is(text, **_):
    return text, False


yapf.yapflib.yapf_api.FormatCode = _as_it_is
CurvesHook._draw = lambda hook, runner: None

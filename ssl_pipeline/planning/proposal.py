"""From the evidence, the machine and a number of hours to settings, each with one sentence of reason.

Settings that a person has made count as given: what is proposed for the others fits them.
"""

import copy
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ssl_pipeline.artifacts.assembly import needed_views
from ssl_pipeline.augment.policy import Policy
from ssl_pipeline.config import Config, PretrainConfig
from ssl_pipeline.data.image_spec import ImageSpec
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.planning.budget import Budget, fit_finetuning
from ssl_pipeline.planning.draft import Draft, Setting
from ssl_pipeline.planning.estimate import StageEstimate, Workload, estimate, workload_of
from ssl_pipeline.planning.evidence import Evidence
from ssl_pipeline.planning.framing import frame
from ssl_pipeline.planning.machine import Machine, Speed
from ssl_pipeline.planning.planned_views import plan_views
from ssl_pipeline.recipes import Method, Recipe, method_of, resolve_views
from ssl_pipeline.registry import Registry

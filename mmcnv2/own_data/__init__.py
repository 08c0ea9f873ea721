"""From a stranger's folder to a config that trains: one module a kind of data looks at it, ``writing`` writes."""

from .plan import KINDS, Options, Plan
from .writing import plan_config, write_plan

__all__ = ['KINDS', 'Options', 'Plan', 'plan_config', 'write_plan']

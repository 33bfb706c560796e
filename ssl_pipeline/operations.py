"""Operations of plugins: policies name them as data, and the registry builds them."""

from collections.abc import Mapping
from pathlib import Path

from ssl_pipeline.augment.policy import Operation, Policies, Policy, read_policies
from ssl_pipeline.config import Choice
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.options import with_defaults
from ssl_pipeline.registry import Entry, Registry
from ssl_pipeline.types import ViewOperation

__all__ = ["build_operations", "load_policies", "operations_used"]

BUILT_IN = [name for name in Policy.model_fields if name not in ("size", "further")]


def load_policies(registry: Registry, path: Path) -> Policies:
    """Read policy.json, and build the operations of plugins that its policies name.

    Raises:
        PipelineError: The file is missing, damaged, or of another version, or an operation is invalid; see
            `build_operations`.
    """
    policies = read_policies(path)
    return policies.model_copy(update={"views": build_operations(registry, policies.views)})


def build_operations(registry: Registry, views: Mapping[str, Policy]) -> dict[str, Policy]:
    """Return the same policies with the operations of plugins built, and with defaults for their missing options.

    Args:
        registry: Registry that contains the operations.
        views: Kind of view -> policy.

    Raises:
        ConfigError: An operation has an unknown name or option, refuses a value, or is not a `ViewOperation`.
    """
    return {kind: _built(registry, policy, f"augment.views.{kind}") for kind, policy in views.items()}


def operations_used(registry: Registry, views: Mapping[str, Policy]) -> list[Entry]:
    """Return the operations of plugins that any view applies (p > 0), sorted by name.

    Raises:
        ConfigError: An operation has an unknown name.
    """
    found = {
        name: _find(registry, name, f"augment.views.{kind}")
        for kind, policy in views.items()
        for each in policy.each
        for name, operation in each.of_plugins.items()
        if operation.p > 0
    }
    return [found[name] for name in sorted(found)]


def _built(registry: Registry, policy: Policy, where: str) -> Policy:
    update: dict[str, Operation | tuple[Policy, ...]] = {}
    for name, written in policy.of_plugins.items():
        entry, choice, key = _find(registry, name, where), Choice(name=name, **written.options), f"{where}.{name}"
        operation = registry.build("operation", choice, key)
        if not isinstance(operation, ViewOperation):
            raise ConfigError(
                f"{key}: {entry.distribution} {entry.version} registers a {type(operation).__name__}, which is not an "
                "operation. Its author must derive it from ssl_pipeline.types.ViewOperation."
            )
        options = with_defaults(entry.factory, "operation", registry.validate(entry, choice, key))
        update[name] = written.with_built(options, operation)
    update["further"] = tuple(_built(registry, other, where) for other in policy.further)
    return policy.model_copy(update=update)


def _find(registry: Registry, name: str, where: str) -> Entry:
    return registry.find("operation", name, f"{where}.{name}", BUILT_IN)

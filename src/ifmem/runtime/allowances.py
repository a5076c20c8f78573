"""What each librarian may take, as the settings say: its pool and its share of that."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, tzinfo
from zoneinfo import ZoneInfo

from ifmem.archive_settings import LibrarianEntry, QuotaEntry
from ifmem.domain.model import EXTRACTIVE, LOCAL, ModelRef
from ifmem.domain.quota import UNMETERED_CALLS, Allowance, Quota
from ifmem.engine.quotas import shares
from ifmem.errors import ConfigError, Invalid
from ifmem.llm.providers import merged, provider_of
from ifmem.model_settings import ProviderEntry
from ifmem.settings import Settings


def librarians_of(settings: Settings) -> dict[int, LibrarianEntry]:
    """Every librarian by its number; those that no entry names are extractive.

    Raises:
        ConfigError: a number twice, or one above ``archive.librarians``.
    """
    count = settings.archive.librarians
    found = {number: LibrarianEntry(number) for number in range(1, count + 1)}
    named: set[int] = set()
    for entry in settings.librarians:
        if entry.number in named:
            raise ConfigError(
                f"[[librarians]] has two entries with number {entry.number}: remove one",
                setting="librarians",
            )
        if entry.number not in found:
            raise ConfigError(
                f"[[librarians]] names number {entry.number} and there are {count}: raise "
                "archive.librarians, or lower the number",
                setting="librarians",
            )
        named.add(entry.number)
        found[entry.number] = entry
    return found


def allowances_of(settings: Settings, space: str) -> list[Allowance]:
    """What each librarian of a space may take, by its number.

    A librarian whose model is extractive, local or of a free provider is unmetered. One that names
    no quota draws from that of its provider's key; where no entry states it, from one with the
    defaults of ``[[quotas]]``.

    Raises:
        ConfigError: ``[[librarians]]`` or ``[[quotas]]`` contradict themselves or each other.
    """
    providers = merged(settings.providers)
    quotas = _quotas(settings, providers)
    librarians = librarians_of(settings)
    drawn: dict[int, Quota] = {}
    for number, entry in librarians.items():
        provider = _provider(entry, providers)
        if provider is not None:
            drawn[number] = _quota_of(entry, provider, quotas)
        elif entry.quota:
            raise ConfigError(
                f"librarian {number} ({entry.model}) costs nobody's quota: leave out its `quota`",
                setting="librarians",
            )
    held = _shares(drawn, librarians)
    return [
        Allowance(
            space=space,
            librarian=number,
            quota=drawn.get(number),
            daily=held.get(number, entry.daily or UNMETERED_CALLS),
        )
        for number, entry in librarians.items()
    ]


def zone_of(name: str) -> tzinfo:
    """The time zone of a name; ``UTC`` is always there.

    Raises:
        ConfigError: this machine does not know it.
    """
    if name.upper() in {"UTC", "Z"}:
        return UTC
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError) as error:
        raise ConfigError(
            f"the time zone {name!r} is not known here: write `zone` in [[quotas]] as in "
            "`America/Los_Angeles`, install the list of zones (`pip install tzdata`), or use `UTC`",
            setting="quotas",
            zone=name,
        ) from error


def _quotas(settings: Settings, providers: Mapping[str, ProviderEntry]) -> dict[str, Quota]:
    """The stated quotas by name: one for a key."""
    found: dict[str, Quota] = {}
    by_key: dict[str, str] = {}
    for entry in settings.quotas:
        if entry.name in found:
            raise ConfigError(
                f"[[quotas]] has two entries named {entry.name!r}: remove one", setting="quotas"
            )
        quota = _quota(entry, _known(entry.provider, providers, "[[quotas]]"))
        other = by_key.setdefault(quota.pool, entry.name)
        if other != entry.name:
            raise ConfigError(
                f"[[quotas]] {other!r} and {entry.name!r} are of the same key: its calls are "
                "counted once, so keep one of them",
                setting="quotas",
            )
        zone_of(entry.zone)
        found[entry.name] = quota
    return found


def _quota(entry: QuotaEntry, provider: ProviderEntry) -> Quota:
    hour, minute = entry.resets.split(":")
    return Quota(
        name=entry.name,
        provider=provider.name,
        daily=entry.daily,
        per_minute=entry.per_minute,
        resets_minute=60 * int(hour) + int(minute),
        zone=entry.zone,
        key=_key(provider),
    )


def _key(provider: ProviderEntry) -> str:
    """Where the key of a provider is read: what two providers share, they share the calls of."""
    if provider.key_file:
        return f"file:{provider.key_file}"
    return f"env:{provider.key_env}" if provider.key_env else ""


def _provider(
    entry: LibrarianEntry, providers: Mapping[str, ProviderEntry]
) -> ProviderEntry | None:
    """Whose key a librarian uses; None when it is unmetered."""
    try:
        name = ModelRef.parse(entry.model).provider
    except ValueError as error:
        raise ConfigError(f"librarian {entry.number}: {error}", setting="librarians") from error
    if name in {EXTRACTIVE, LOCAL}:
        return None
    provider = _known(name, providers, f"librarian {entry.number}")
    return None if provider.free else provider


def _known(name: str, providers: Mapping[str, ProviderEntry], where: str) -> ProviderEntry:
    try:
        return provider_of(providers, name)
    except Invalid as error:
        raise ConfigError(f"{where}: {error.message}", provider=name) from error


def _quota_of(entry: LibrarianEntry, provider: ProviderEntry, quotas: Mapping[str, Quota]) -> Quota:
    own = _quota(QuotaEntry(provider.name, provider.name), provider)
    if not entry.quota:
        return next((quota for quota in quotas.values() if quota.pool == own.pool), own)
    quota = quotas.get(entry.quota)
    if quota is None:
        raise ConfigError(
            f"librarian {entry.number} draws from the quota {entry.quota!r}, which is not in "
            f"[[quotas]]: add it, or leave out `quota`",
            setting="librarians",
        )
    if quota.pool != own.pool:
        raise ConfigError(
            f"librarian {entry.number} ({entry.model}) draws from the quota {entry.quota!r} of "
            f"another key: name the one of {provider.name}",
            setting="librarians",
        )
    return quota


def _shares(drawn: Mapping[int, Quota], librarians: Mapping[int, LibrarianEntry]) -> dict[int, int]:
    """Calls a day of each metered librarian, by number."""
    members: defaultdict[str, list[int]] = defaultdict(list)
    for number, quota in drawn.items():
        members[quota.pool].append(number)
    held: dict[int, int] = {}
    for numbers in members.values():
        quota = drawn[numbers[0]]
        held |= shares(quota.name, quota.daily, {n: librarians[n].daily for n in numbers})
    return held

"""Providers by name: those built in, and what the settings change and add."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from ifmem.errors import ConfigError, Invalid
from ifmem.model_settings import ProviderEntry

BUILT_IN: tuple[ProviderEntry, ...] = (
    ProviderEntry(name="anthropic", protocol="anthropic", key_env="ANTHROPIC_API_KEY"),
    ProviderEntry(name="openai", protocol="openai", vendor="openai", key_env="OPENAI_API_KEY"),
    ProviderEntry(name="gemini", protocol="gemini", key_env="GEMINI_API_KEY"),
    ProviderEntry(
        name="deepseek",
        protocol="openai",
        vendor="deepseek",
        base_url="https://api.deepseek.com",
        key_env="DEEPSEEK_API_KEY",
    ),
    ProviderEntry(
        name="ollama", protocol="openai", base_url="http://127.0.0.1:11434/v1", free=True
    ),
    ProviderEntry(
        name="vllm",
        protocol="openai",
        vendor="vllm",
        base_url="http://127.0.0.1:8000/v1",
        free=True,
    ),
    ProviderEntry(
        name="llamacpp",
        protocol="openai",
        vendor="llamacpp",
        base_url="http://127.0.0.1:8080/v1",
        free=True,
    ),
)
"""Without a `base_url`: as the vendor's own client has it."""


def merged(entries: Sequence[ProviderEntry]) -> dict[str, ProviderEntry]:
    """Every provider by name; an entry with a built-in name changes what it sets.

    Raises:
        ConfigError: a name twice, or a new one that does not say what it speaks.
    """
    providers = {entry.name: entry for entry in BUILT_IN}
    seen: set[str] = set()
    for entry in entries:
        if entry.name in seen:
            raise ConfigError(f"[[providers]] has two entries named {entry.name!r}: remove one")
        seen.add(entry.name)
        before = providers.get(entry.name)
        providers[entry.name] = _complete(entry) if before is None else _changed(before, entry)
    return providers


def provider_of(providers: Mapping[str, ProviderEntry], name: str) -> ProviderEntry:
    """The provider of a name.

    Raises:
        Invalid: there is none.
    """
    provider = providers.get(name)
    if provider is None:
        raise Invalid(
            f"there is no provider {name!r}: it is one of {', '.join(sorted(providers))}, or add "
            f'it to the settings:\n[[providers]]\nname = "{name}"\nprotocol = "openai"\n'
            f'base_url = "http://127.0.0.1:8000/v1"\nkey_env = "MY_API_KEY"',
            provider=name,
        )
    return provider


def key_of(provider: ProviderEntry, environment: Mapping[str, str]) -> str:
    """The key that a provider is called with; empty where it needs none.

    A name of your own never gets the key of a vendor: only what its entry names.

    Raises:
        ConfigError: the key is not where the settings say.
    """
    if provider.key_file:
        return _key_in(provider)
    if not provider.key_env:
        return ""
    key = environment.get(provider.key_env, "").strip()
    if not key:
        raise ConfigError(
            f"{provider.name} needs a key and {provider.key_env} is not set in the environment "
            f"that the daemon was started with: run `ifmem down`, set it, and ask again, or name "
            f"a file with `key_file` in [[providers]]",
            variable=provider.key_env,
            provider=provider.name,
        )
    return key


def _complete(entry: ProviderEntry) -> ProviderEntry:
    if entry.protocol is None:
        raise ConfigError(
            f'the provider {entry.name!r} does not say what it speaks: add protocol = "openai", '
            f'"anthropic" or "gemini" to its entry in [[providers]]',
            provider=entry.name,
        )
    if entry.protocol == "openai" and not entry.base_url and not entry.vendor:
        # Without an address it is OpenAI itself, by another name: a second account.
        return msgspec.structs.replace(entry, vendor="openai")
    return entry


def _changed(before: ProviderEntry, entry: ProviderEntry) -> ProviderEntry:
    defaults = ProviderEntry(name=entry.name)
    return msgspec.structs.replace(
        before,
        **{
            field: value
            for field, value in msgspec.structs.asdict(entry).items()
            if value != getattr(defaults, field)
        },
    )


def _key_in(provider: ProviderEntry) -> str:
    path = Path(provider.key_file).expanduser()
    try:
        key = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"the key of {provider.name} cannot be read from {path}: correct `key_file` in "
            f"[[providers]]",
            provider=provider.name,
        ) from error
    if not key:
        raise ConfigError(
            f"{path} holds no key of {provider.name}: write it there", provider=provider.name
        )
    return key

"""Where settings come from: `quant50.toml`, then the environment, then one object that never changes.

Only this module reads the environment for settings. Secrets come from the environment alone.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from quant50lib.errors import SettingsError
from quant50lib.settings import Secrets, Section, Settings

PREFIX = "QUANT50_"
#: variables with our prefix that are not settings
OTHER_VARIABLES = ("QUANT50_HOME", "QUANT50_SETTINGS", "QUANT50_API_TOKEN", "QUANT50_CHROMIUM")


@dataclass(frozen=True)
class Home:
    """The folder that holds all state of one desk."""

    root: Path

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def store(self) -> Path:
        return self.data / "market.duckdb"

    @property
    def ledger(self) -> Path:
        return self.data / "ledger.duckdb"

    @property
    def reports(self) -> Path:
        return self.data / "reports"

    @property
    def twin(self) -> Path:
        return self.data / "twin" / "twin.sqlite"

    @property
    def lock(self) -> Path:
        return self.data / "run.lock"

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def runs(self) -> Path:
        return self.root / "runs"


def checkout() -> Path:
    """The folder that holds the package and its notebooks."""
    return Path(__file__).resolve().parents[2]


def notebooks() -> Path:
    """The folder of the stage notebooks."""
    return checkout() / "notebooks"


def home(environment: Mapping[str, str] = os.environ) -> Home:
    """The desk's home: QUANT50_HOME, or the checkout."""
    return Home(Path(environment.get("QUANT50_HOME") or checkout()).expanduser().resolve())


def secrets(environment: Mapping[str, str] = os.environ) -> Secrets:
    """Credentials from the environment; absent ones are empty."""
    read = {
        "key_id": "APCA_API_KEY_ID",
        "secret_key": "APCA_API_SECRET_KEY",
        "api_token": "QUANT50_API_TOKEN",
    }
    return Secrets(**{k: SecretStr(environment.get(name, "")) for k, name in read.items()})


def settings_file(desk: Home, environment: Mapping[str, str] = os.environ) -> Path | None:
    """QUANT50_SETTINGS if set (it must exist), else quant50.toml of the home, else of the checkout."""
    named = environment.get("QUANT50_SETTINGS")
    if named:
        path = Path(named).expanduser()
        if not path.is_file():
            raise SettingsError(f"QUANT50_SETTINGS names {path}, which does not exist")
        return path
    for folder in (desk.root, checkout()):
        if (folder / "quant50.toml").is_file():
            return folder / "quant50.toml"
    return None


def load(desk: Home | None = None, environment: Mapping[str, str] = os.environ) -> Settings:
    """All settings, checked.

    Raises
    ------
    SettingsError
        An unknown or misspelt key (with the nearest right one), or a value out of range.
    """
    path = settings_file(desk or home(environment), environment)
    written = _read(path) if path else {}
    _refuse_unknown_variables(environment)

    class FromFileAndEnvironment(BaseSettings, Settings):
        model_config = SettingsConfigDict(
            env_prefix=PREFIX, env_nested_delimiter="__", frozen=True, extra="forbid"
        )

        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            variables = EnvSettingsSource(settings_cls)
            variables.env_vars = {name.lower(): value for name, value in environment.items()}
            return variables, init_settings

    try:
        merged = FromFileAndEnvironment(**written)
    except ValidationError as error:
        raise SettingsError(_explain(error, path)) from error
    return Settings.model_validate(merged.model_dump())


def digest(settings: Settings) -> str:
    """sha256 of the settings; equal settings have equal digests."""
    return hashlib.sha256(settings.model_dump_json().encode()).hexdigest()


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path.name} is not valid TOML: {error}") from error


def _fields(section: type[Section]) -> dict[str, Any]:
    return section.model_fields


def _known_keys() -> list[str]:
    keys = []
    for name, field in _fields(Settings).items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Section):
            keys += [f"{name}.{key}" for key in _fields(inner)]
        keys.append(name)
    return keys


def _nearest(key: str) -> str:
    known = _known_keys()
    last = {k.rsplit(".", 1)[-1]: k for k in reversed(known)}
    close = difflib.get_close_matches(key, known, 1, 0.6)
    close = close or [
        last[m] for m in difflib.get_close_matches(key.rsplit(".", 1)[-1], list(last), 1, 0.6)
    ]
    return (
        f"; did you mean {close[0]!r}?"
        if close
        else f"; known sections: {', '.join(_fields(Settings))}"
    )


def _refuse_unknown_variables(environment: Mapping[str, str]) -> None:
    known = {PREFIX + key.upper().replace(".", "__") for key in _known_keys()} | set(
        OTHER_VARIABLES
    )
    for name in environment:
        if name.startswith(PREFIX) and name.upper() not in known:
            key = name.removeprefix(PREFIX).lower().replace("__", ".")
            raise SettingsError(f"environment variable {name} is no setting{_nearest(key)}")


def _explain(error: ValidationError, path: Path | None) -> str:
    where = path.name if path else "the environment"
    lines = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            lines.append(f"{key!r} is no setting{_nearest(key)}")
        else:
            lines.append(f"{key!r} = {item.get('input')!r}: {item['msg']}")
    return f"{where}: " + "; ".join(lines)

"""Settings: one place, typed, and a misspelt key is never silent."""

import json
import logging

import pytest
from pydantic import SecretStr

from quant50lib.errors import SettingsError
from quant50lib.settings import Secrets, Settings
from quant50lib.utils import config
from quant50lib.utils import logging as own_logging


def desk(tmp_path, text=""):
    (tmp_path / "quant50.toml").write_text(text, "utf-8")
    return config.Home(tmp_path)


def test_without_a_file_the_defaults_are_the_demo(tmp_path):
    home = config.Home(tmp_path)
    assert config.load(home, {}) == Settings()
    assert config.load(home, {}).broker == "sim"


def test_the_environment_wins_over_the_file(tmp_path):
    home = desk(tmp_path, "[optimize]\nmax_weight = 0.04\nmax_names = 30\n")
    loaded = config.load(home, {"QUANT50_OPTIMIZE__MAX_WEIGHT": "0.03"})
    assert (loaded.optimize.max_weight, loaded.optimize.max_names) == (0.03, 30)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[optimise]\nmax_weight = 0.1\n", "optimize"),
        ("[optimize]\nmax_wieght = 0.1\n", "optimize.max_weight"),
        ("[optimize]\nmax_weight = 7\n", "max_weight"),
        ('broker = "live"\n', "'sim' or 'paper'"),
        ("broker = \n", "not valid TOML"),
        ("[risk]\ndrawdown_soft = 0.2\n", "must hold"),
    ],
)
def test_a_wrong_file_is_refused_naming_the_key(tmp_path, text, said):
    with pytest.raises(SettingsError, match=said):
        config.load(desk(tmp_path, text), {})


def test_a_misspelt_variable_is_refused_with_the_nearest_name(tmp_path):
    with pytest.raises(SettingsError, match="optimize.max_weight"):
        config.load(config.Home(tmp_path), {"QUANT50_OPTIMIZE__MAX_WIEGHT": "0.1"})


def test_a_named_file_must_exist(tmp_path):
    with pytest.raises(SettingsError, match="does not exist"):
        config.load(config.Home(tmp_path), {"QUANT50_SETTINGS": str(tmp_path / "none.toml")})


def test_settings_cannot_change_after_loading():
    with pytest.raises(ValueError, match="frozen"):
        Settings().optimize.max_weight = 1.0


def test_equal_settings_have_equal_digests(tmp_path):
    other = config.load(config.Home(tmp_path), {"QUANT50_LABEL__HORIZON_SESSIONS": "10"})
    assert config.digest(Settings()) == config.digest(Settings()) != config.digest(other)


def test_home_is_the_variable_or_the_checkout(tmp_path):
    assert config.home({"QUANT50_HOME": str(tmp_path)}).root == tmp_path.resolve()
    assert (config.home({}).root / "pyproject.toml").is_file()


def test_secrets_come_from_the_environment_and_do_not_show():
    read = config.secrets({"APCA_API_KEY_ID": "PKABC", "APCA_API_SECRET_KEY": "hush"})
    assert read.key_id.get_secret_value() == "PKABC"
    assert "hush" not in repr(read) and "hush" not in read.model_dump_json()


def test_log_lines_are_json_with_facts_and_without_secrets(tmp_path):
    hidden = Secrets(key_id=SecretStr("PKSECRET"), secret_key=SecretStr("hush-hush"))
    handler = own_logging.to_file(tmp_path / "log.jsonl", hidden)
    try:
        logger = own_logging.log("quant50lib.test")
        logger.info("sent with hush-hush", extra=own_logging.facts(key="PKSECRET", rows=3))
        try:
            raise ValueError("hush-hush")
        except ValueError:
            logger.exception("failed")
    finally:
        own_logging.detach(handler)
    first, second = map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())
    assert first["message"] == "sent with [secret]" and first["rows"] == 3
    assert first["key"] == "[secret]" and first["source"] == "test"
    assert "ValueError: [secret]" in second["error"]
    assert handler not in logging.getLogger("quant50lib").handlers

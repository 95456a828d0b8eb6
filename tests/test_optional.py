"""Options that need a package: refused before the first job where it is not installed, by the option's own name."""

import importlib
import importlib.util

import pytest
from diffusers.models.attention_dispatch import AttentionBackendName

from relane.errors import InputError
from relane.models import flash4
from relane.workflow import optional

CONFIG = {
    "first_frame": {"fp8": False, "attention_backend": ""},
    "video": {"fp8": False, "attention_backend": ""},
    "lora": {"optimizer": "adamw"},
}
RULES = ("first_frame", "edit_video", "train_lora")


def with_option(section: str, key: str, value: object) -> dict:
    return CONFIG | {section: CONFIG[section] | {key: value}}


OPTIONS = [
    ("first_frame", "fp8", True, "torchao"),
    ("video", "fp8", True, "torchao"),
    ("video", "attention_backend", "flash_4", "flash-attn-4"),
    ("video", "attention_backend", "flash_4_hub", "kernels"),
    ("first_frame", "attention_backend", "sage_varlen", "sageattention"),
    ("lora", "optimizer", "adamw8bit", "bitsandbytes"),
]


@pytest.mark.parametrize(("section", "key", "value", "package"), OPTIONS)
def test_an_option_without_its_package_is_refused_by_name(monkeypatch, section, key, value, package):
    config = with_option(section, key, value)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=rf"{section}\.{key}.* needs the package {package}.*not installed"):
        optional.check_packages(config, RULES)
    optional.check_packages(config, ["segment_road"])  # no job of this run needs it
    optional.check_packages(CONFIG, RULES)


def test_a_package_that_is_there_serves_and_is_not_imported(monkeypatch, tmp_path):
    for module in ("torchao", "flash_attn"):
        (tmp_path / module).mkdir()
        (tmp_path / module / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    optional.check_packages(with_option("video", "fp8", True), RULES)
    config = with_option("video", "attention_backend", "flash_4")
    with pytest.raises(InputError, match="flash-attn-4"):  # FlashAttention 2 has the same name
        optional.check_packages(config, RULES)
    (tmp_path / "flash_attn" / "cute").mkdir()
    (tmp_path / "flash_attn" / "cute" / "__init__.py").write_text("")
    importlib.invalidate_caches()
    optional.check_packages(config, RULES)


def test_every_backend_of_the_dispatcher_but_pytorch_s_own_has_its_package():
    names = {backend.value for backend in AttentionBackendName} | {flash4.NAME}
    alone = {name for name in names if optional.attention_package(name) is None}
    own = {"flex", "native", "_native_cudnn", "_native_efficient", "_native_flash", "_native_math"}
    assert alone == own

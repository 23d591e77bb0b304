"""Published ParaSpeechCLAP checkpoints: where they are found, and the fields of their model folders."""

import re
from dataclasses import dataclass
from pathlib import Path

from voxdex.encoders.paths import voxdex_home
from voxdex.encoders.training.paraspeechclap import SPEECH_SOURCE, TEXT_SOURCE
from voxdex.export.model_folder import ExportError, ModelInfo

OWNER = "ajd12342"
VARIANTS = ("intrinsic", "situational", "combined")


@dataclass(frozen=True)
class Published:
    """A published checkpoint: its local file, the name of the model, and its description."""

    file: Path
    name: str
    description: str


def find_published(file_or_hub_name: str, name: str | None = None) -> Published:
    """Find a checkpoint on this machine or on the HuggingFace hub.

    Raises:
        ExportError: it is not on this machine and cannot be fetched.
    """
    if name is not None and not re.fullmatch(r"\w[\w.-]*", name):
        raise ExportError(f"{name!r} is not a name for a model: it has letters, digits, points and hyphens only.")
    path = Path(file_or_hub_name)
    if path.is_file():
        variant = _variant(path.name)
        return Published(
            path, name or (f"paraspeechclap-{variant}" if variant else path.name.split(".")[0]), _description(variant)
        )
    variant = _variant(file_or_hub_name)
    repository = file_or_hub_name if "/" in file_or_hub_name else f"{OWNER}/{file_or_hub_name}"
    if variant is None or path.suffix:
        raise ExportError(
            f"There is no file {file_or_hub_name}, and it is no published model: give a checkpoint (.pth.tar) or one of "
            f"{', '.join(f'{OWNER}/paraspeechclap-{known}' for known in VARIANTS)}."
        )
    file = _fetch(repository, variant)
    return Published(file, name or f"paraspeechclap-{variant}", _description(variant))


def published_info(published: Published) -> ModelInfo:
    """Return the fields of its model folder."""
    return ModelInfo(
        name=published.name,
        description=published.description,
        licence="CC BY-NC-SA 4.0",
        trained_on=[{"name": "ParaSpeechCaps", "licence": "CC BY-NC-SA 4.0", "clips": "", "hours": "", "speakers": ""}],
        prompt_templates=["A person is speaking in a {} style."],
    )


def _variant(name: str) -> str | None:
    return next((known for known in VARIANTS if re.search(rf"(^|/|-|_){known}\b", name)), None)


def _description(variant: str | None) -> str:
    which = f"ParaSpeechCLAP-{variant.title()}" if variant else "A model of ParaSpeechCLAP's make"
    return f"{which} (Diwan, Choi and Harwath, arXiv 2603.28737): WavLM-Large and Granite Embedding, 768 dimensions."


def _fetch(repository: str, variant: str) -> Path:
    """Return the checkpoint's file from the user's copy of the hub, or from the hub."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import RemoteEntryNotFoundError

    names = [f"paraspeechclap-{variant}.pth.tar", *(["slap-combined.pth.tar"] if variant == "combined" else [])]
    brought = voxdex_home() / "hub" / repository
    for name in names:
        if (brought / name).is_file():
            return brought / name
    reason = ""
    for name in names:
        try:
            return Path(hf_hub_download(repository, name))
        except RemoteEntryNotFoundError:
            reason = f"it has no {name}"
        except Exception as error:  # the hub's own errors, and those of whatever carries its requests
            reason = str(error).strip().splitlines()[0].rstrip(".")
            break
    raise ExportError(
        f"The HuggingFace hub does not give {repository} ({reason}). On a machine that reaches it, fetch {names[0]} of "
        f"{repository}, and the config.json, preprocessor_config.json of {SPEECH_SOURCE} and the config.json, tokenizer.json, "
        f"tokenizer_config.json of {TEXT_SOURCE}. Put them into {brought}, {voxdex_home() / 'hub' / SPEECH_SOURCE} and "
        f"{voxdex_home() / 'hub' / TEXT_SOURCE}, and run the same command again."
    )

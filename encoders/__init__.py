"""Sound and words into vectors of one space, with ONNX Runtime and without torch.

from encoders import AudioReader, open_model

model = open_model("mini")
vectors = list(model.embed_speech([samples]))     # float32 mono at 16 kHz
captions = list(model.embed_text(["a whispering old man"]))
"""

from encoders.attributes import Attribute, Label, load_attributes
from encoders.audio import MEDIA_SUFFIXES, SAMPLE_RATE, AudioError, AudioReader, read_audio
from encoders.model import Model, ModelError, open_model
from encoders.model_folder import ModelCard, default_model, find_models
from encoders.texts import TextError

__all__ = [
    "MEDIA_SUFFIXES",
    "SAMPLE_RATE",
    "Attribute",
    "AudioError",
    "AudioReader",
    "Label",
    "Model",
    "ModelCard",
    "ModelError",
    "TextError",
    "default_model",
    "find_models",
    "load_attributes",
    "open_model",
    "read_audio",
]

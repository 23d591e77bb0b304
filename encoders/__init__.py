"""Sound and words into vectors of one space, with ONNX Runtime and without torch.

from voxdex.encoders import AudioReader, open_model

model = open_model("mini")
vectors = list(model.embed_speech([samples]))     # float32 mono at 16 kHz
captions = list(model.embed_text(["a whispering old man"]))
"""

from voxdex.encoders.exports import exports

__all__, __getattr__ = exports(
    __name__,
    {
        "voxdex.encoders.attributes": "Attribute Label load_attributes",
        "voxdex.encoders.audio": "MEDIA_SUFFIXES SAMPLE_RATE AudioError AudioReader read_audio",
        "voxdex.encoders.model": "Model ModelError open_model",
        "voxdex.encoders.model_folder": "ModelCard default_model find_models",
        "voxdex.encoders.texts": "TextError",
    },
)

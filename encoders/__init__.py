"""Sound and words into vectors of one space, with ONNX Runtime and without torch.

from encoders import AudioReader, open_model

model = open_model("mini")
vectors = list(model.embed_speech([samples]))     # float32 mono at 16 kHz
captions = list(model.embed_text(["a whispering old man"]))
"""

from encoders.exports import exports

__all__, __getattr__ = exports(
    __name__,
    {
        "encoders.attributes": "Attribute Label load_attributes",
        "encoders.audio": "MEDIA_SUFFIXES SAMPLE_RATE AudioError AudioReader read_audio",
        "encoders.model": "Model ModelError open_model",
        "encoders.model_folder": "ModelCard default_model find_models",
        "encoders.texts": "TextError",
    },
)

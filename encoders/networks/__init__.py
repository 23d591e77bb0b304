"""PyTorch networks: the dual encoder and the towers it is made of. Needed to train and to export, never at run time."""

from voxdex.encoders.networks.acoustic_tower import AcousticTower
from voxdex.encoders.networks.architecture import build_network
from voxdex.encoders.networks.dual_encoder import DualEncoder, Projection, ReluProjection
from voxdex.encoders.networks.errors import NetworkError
from voxdex.encoders.networks.mel import MelFrontEnd
from voxdex.encoders.networks.phoneme_tower import PhonemeTower
from voxdex.encoders.networks.speech_tower import ConvNeXtSpeechTower
from voxdex.encoders.networks.text_tower import TransformerTextTower
from voxdex.encoders.networks.whisper_tower import WhisperSpeechTower

__all__ = [
    "AcousticTower",
    "ConvNeXtSpeechTower",
    "DualEncoder",
    "MelFrontEnd",
    "NetworkError",
    "PhonemeTower",
    "Projection",
    "ReluProjection",
    "TransformerTextTower",
    "WhisperSpeechTower",
    "build_network",
]

"""Uploaded sounds."""

import io

from tests.fakes.sounds import voice, write_sound
from voxdex.web.uploads import UploadStore


def test_upload_that_is_removed_during_another_upload(tmp_path):
    (tmp_path / "new-1").symlink_to("gone")
    sound = io.BytesIO(write_sound(tmp_path / "sent.wav", voice(1.0)).read_bytes())
    sounds = UploadStore(tmp_path, 10.0)
    assert sounds.find(sounds.keep(sound).name).path.is_file()

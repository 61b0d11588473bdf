"""A model card says what holds of the model at hand, and nothing of another."""

from __future__ import annotations

from training.export.model_card import model_card

STREET = {"name": "street", "terms": "rendered here"}


def test_what_is_known_of_camvid_is_said_of_its_models_only() -> None:
    camvid = {"name": "camvid", "terms": "CC BY-NC"}
    of_camvid = model_card("mine", [camvid, STREET], {}, "abc", correctable=True)
    assert "English city" in of_camvid
    assert "scores flatter" in of_camvid
    assert "- **street**: rendered here" in of_camvid
    faces = model_card("faces", [{"name": "faces", "terms": "cite"}], {}, "abc", correctable=False)
    assert "CamVid" not in faces
    assert "English city" not in faces


def test_a_model_without_a_code_cannot_be_corrected() -> None:
    cards = [model_card("mine", [STREET], {}, "abc", correctable=can) for can in (True, False)]
    assert ["corrected while driving" in card for card in cards] == [True, False]

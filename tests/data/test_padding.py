"""Padding: which side it is on, what given lengths mean, what is set to zero."""

import numpy as np
import pytest
from test_data_plain import N, alone, present, sequence, small, tokens, without

from msa_jax.data.check import checks
from msa_jax.data.read import plain
from msa_jax.data.read.padding import Axis, settle_padding, tokens_first
from msa_jax.ground.errors import UserError


def test_blank_samples_are_no_sign_of_back_padding():
    moved, length, found = alone(sequence([[0, 0, 1, 2], [0] * 4]), None)
    assert found == ("front", "derived", 1, 0, 0)
    assert length.tolist() == [2, 1]  # a blank sample keeps one step
    assert moved[:, :, 0].tolist() == [[1, 2], [0, 0]]


def test_lengths_that_cover_all_contents_say_nothing_of_the_back():
    given = sequence([[1, 2, 0, 0], [3, 0, 0, 0]])
    kept, _, found = alone(given, np.array([4, 4]))
    assert found == ("none", "given", 0, 0, 0)
    assert kept[:, :, 0].tolist() == given[:, :, 0].tolist()
    # zeros in front, but the lengths count them: nothing is moved
    front = sequence([[0, 0, 1, 2], [0, 3, 4, 5]])
    kept, _, found = alone(front, np.array([4, 4]))
    assert found == ("none", "given", 0, 0, 0)
    assert kept[:, :, 0].tolist() == front[:, :, 0].tolist()


def test_contents_that_fit_lengths_from_both_sides_stay_where_they_are():
    kept, _, found = alone(sequence([[0, 1, 2, 0]]), np.array([3]))
    assert found == ("back", "given", 0, 0, 0)
    assert kept[:, :, 0].tolist() == [[0, 1, 2]]


@pytest.mark.parametrize(
    "side, dropped, kept",
    [
        ("auto", 0, [[1, 2, 0], [3, 4, 5]]),
        ("front", 0, [[1, 2, 0], [3, 4, 5]]),
        ("back", 3, [[0, 0, 0], [0, 3, 4]]),
        ("as_stored", 3, [[0, 0, 0], [0, 3, 4]]),
    ],
)
def test_lengths_that_count_from_the_back(side, dropped, kept):
    front = sequence([[0, 0, 1, 2], [0, 3, 4, 5]])
    settled, length, found = alone(front, np.array([2, 3]), side)
    assert found == ("back" if dropped else "front", "given", 0, dropped, 0)
    assert settled[:, :, 0].tolist() == kept and length.tolist() == [2, 3]


def test_said_back_padding_believes_lengths_in_spite_of_zeros_in_front():
    given = sequence([[0, 0, 1, 2], [0, 3, 4, 5], [0, 0, 0, 6]])
    settled, length, found = alone(given, np.array([1, 3, 1]), "back")
    assert found == ("back", "given", 0, 4, 0) and length.tolist() == [1, 3, 1]
    assert settled[1, :, 0].tolist() == [0, 3, 4]


def test_values_that_the_cast_turns_into_zeros_are_padding():
    given = np.array([[[1.0], [1e-60]], [[1.0], [0.0]]])
    kept, length, found = alone(given, None)
    assert length.tolist() == [1, 1] and kept.shape == (2, 1, 1)


def test_chunks_of_rows_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    given = rng.normal(size=(9, 5, 2)).astype(np.float32)
    own = rng.integers(1, 6, 9)
    given[np.arange(5) < 5 - own[:, None]] = 0
    whole = alone(given, None)
    monkeypatch.setattr("msa_jax.data.read.padding._CHUNK", 20)
    parts = alone(given, None)
    for a, b in zip(whole[:2], parts[:2], strict=True):
        np.testing.assert_array_equal(a, b)
    assert whole[2] == parts[2] and whole[1].tolist() == own.tolist()


FRONT = [[0, 0, 0, 1, 2, 3], [0, 1, 2, 3, 4, 5], [0, 0, 1, 2, 3, 4]]
BACK = [[1, 2, 3, 0, 0, 0], [1, 2, 3, 4, 5, 0], [1, 2, 3, 4, 0, 0]]


def aligned(rows: list[list[int]], first: list[int]) -> dict[str, np.ndarray]:
    """Text, audio and vision of these rows, but vision's of the first sample."""
    vision = [first, *rows[1:]]
    return {"text": sequence(rows), "audio": sequence(rows), "vision": sequence(vision)}


@pytest.mark.parametrize("side", ["auto", "said"])
@pytest.mark.parametrize("lost", [(), (0,), (0, 1), (2,), (1,), (0, 2), (0, 1, 2)])
@pytest.mark.parametrize("rows, start", [(FRONT, 3), (BACK, 0)])
def test_rows_of_one_axis_stay_side_by_side(rows, start, lost, side):
    first = list(rows[0])
    for step in lost:
        first[start + step] = 0
    said = {"auto": "auto", "said": "front" if start else "back"}[side]
    settled, axis = settle_padding(aligned(rows, first), {}, said)
    apart = len(lost) < 3 and bool({*lost} & {0, 2})  # all lost: it is blank
    assert axis == (("text", "audio", "vision"), int(apart), False, ())
    kept = [0 if step in lost else step + 1 for step in range(3)]
    for name, (found, length, padding) in settled.items():
        wanted = kept if name == "vision" else [1, 2, 3]
        assert found[0, :, 0].tolist() == [*wanted, 0, 0], name
        assert found[1, :, 0].tolist() == [1, 2, 3, 4, 5], name
        assert length.tolist() == [3, 5, 4]
        assert padding.side == ("front" if start else "back")
        assert padding.blank == int(name == "vision" and len(lost) == 3)


def test_most_samples_may_lack_rows_in_one_modality():
    made = aligned(FRONT, [0] * 6)
    made["vision"][:, :4] = 0
    settled, axis = settle_padding(made, {})
    assert axis.apart == 2  # the first is blank
    assert settled["vision"][0][1, :, 0].tolist() == [0, 0, 0, 4, 5]


def test_what_is_blank_in_every_modality_keeps_one_step():
    made = {m: sequence([[0] * 4, [0, 0, 1, 2]]) for m in ("audio", "vision")}
    settled, _ = settle_padding(made, {})
    assert settled["audio"][1].tolist() == [1, 2]


def test_other_numbers_of_steps_are_other_axes():
    text, audio = sequence([[0, 1, 2, 3]] * 3), sequence([[0, 0, 0, 1, 2]] * 3)
    vision = sequence([[0, 1, 2, 3, 4]] * 3)
    settled, axis = settle_padding({"text": text, "audio": audio}, {})
    assert axis[:3] == ((), 0, False) and settled["audio"][1].tolist() == [2] * 3
    # equally many steps by chance: the text's say that nothing is aligned
    settled, axis = settle_padding({"text": text, "audio": audio, "vision": vision}, {})
    assert axis.names == () and settled["audio"][1].tolist() == [2] * 3
    # but where most zeros agree, they are
    vision[0, 1] = 0
    found = {"text": text, "audio": vision[::-1], "vision": vision[:, ::1]}
    found["audio"] = sequence([[0, 1, 2, 3, 4]] * 3)
    settled, axis = settle_padding(found, {})
    assert axis.names == ("audio", "vision") and axis.apart == 1
    assert settled["vision"][0][0, :, 0].tolist() == [0, 2, 3, 4]


def test_as_stored_and_given_lengths_know_no_axis():
    made = aligned(FRONT, [0, 0, 0, 0, 2, 3])
    settled, axis = settle_padding(made, {}, "as_stored")
    assert axis == Axis() and settled["vision"][1].tolist() == [6] * 3
    lengths = {m: np.array([3, 5, 4]) for m in made}
    settled, axis = settle_padding(made, lengths)
    assert axis == Axis() and settled["vision"][0][0, :, 0].tolist() == [0, 2, 3, 0, 0]


@pytest.mark.parametrize("given", [("text",), ("text", "audio"), ("vision",)])
def test_lengths_of_one_modality_tell_the_others(given):
    made = aligned(FRONT, [0, 0, 0, 0, 2, 3])
    made["text"][0, 3] = made["audio"][0, 3] = 0  # an unknown word, silence
    lengths = {m: np.array([3, 5, 4]) for m in given}
    settled, axis = settle_padding(made, lengths)
    assert axis.names == ("text", "audio", "vision")
    for found, length, _ in settled.values():
        assert length.tolist() == [3, 5, 4]
        assert found[0, :, 0].tolist() == [0, 2, 3, 0, 0]


def test_lengths_of_one_modality_tell_of_no_axis_if_they_differ():
    made = {m: sequence(BACK) for m in ("text", "audio", "vision")}
    settled, axis = settle_padding(made, {"audio": np.array([6, 6, 6])})
    assert axis == Axis(unlike=("text", "audio", "vision"))
    assert settled["vision"][1].tolist() == [3, 5, 4]


def test_recomputed_lengths_are_those_of_the_axis():
    made = aligned(FRONT, [0, 0, 0, 0, 2, 3])
    lengths = {m: np.ones(3, np.int64) for m in made}  # up to the first zero step
    settled, axis = settle_padding(made, lengths)
    assert axis.names == ("text", "audio", "vision")
    assert settled["vision"][2] == ("front", "recomputed", 0, 0, 3)
    assert settled["vision"][0][0, :, 0].tolist() == [0, 2, 3, 0, 0]


def test_each_sample_votes_for_the_side_of_its_longer_run_of_zeros():
    rows = [
        [0, 1, 2, 3, 0, 0],
        [0, 1, 0, 0, 0, 0],
        [0, 1, 2, 3, 4, 5],
        [0, 1, 2, 3, 4, 0],
    ]
    for given, where in ((rows, "back"), ([row[::-1] for row in rows], "front")):
        kept, length, found = alone(sequence(given), None)
        assert found.side == where and length.tolist() == [4, 2, 6, 5]
        assert kept[0, 0, 0] == (0 if where == "back" else 3)


def mask(rows: list[list[int]]) -> np.ndarray:
    return np.array(rows)


def test_a_zero_row_for_the_first_token_is_no_front_padding():
    rows = [[0, 1, 2, 3, 0, 0], [0, 1, 2, 0, 0, 0], [0, 1, 2, 3, 4, 5]]  # [CLS] first
    made = {m: sequence(rows) for m in ("audio", "vision")}
    tokens = mask([[1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 0, 0], [1] * 6])
    settled, axis = settle_padding(made, {}, mask=tokens)
    assert axis[:3] == (("text", "audio", "vision"), 0, False)
    assert settled["audio"][0][:, :, 0].tolist() == rows
    assert settled["audio"][1].tolist() == [5, 4, 6]  # as many as tokens
    _, axis = settle_padding({"audio": made["audio"]}, {}, mask=tokens)
    assert axis.names == ("text", "audio")


def test_tokens_on_the_other_side_are_not_on_the_axis():
    made = aligned(FRONT, [0, 0, 0, 0, 2, 3])
    del made["text"]
    settled, axis = settle_padding(made, {}, mask=mask([[1, 1, 0, 0, 0, 0]] * 3))
    assert axis[:3] == (("audio", "vision"), 1, True)
    assert settled["vision"][0][0, :, 0].tolist() == [0, 2, 3, 0, 0]
    _, axis = settle_padding({"audio": made["audio"]}, {}, mask=mask([[1] * 5] * 3))
    assert axis == Axis()


def token_rows(ids: list[int], ones: list[int]) -> np.ndarray:
    return np.repeat(np.array([ids, ones, [0] * len(ids)])[None], N, axis=0)


def test_front_padding_of_tokens_is_counted_by_the_mask():
    found, moved = tokens_first(token_rows([0, 0, 101, 0, 9], [0, 0, 1, 1, 1]))
    assert found[0].tolist() == [[101, 0, 9, 0, 0], [1, 1, 1, 0, 0], [0] * 5] and moved
    full = token_rows([101, 7], [1, 1])
    assert tokens_first(full) == (full, False) or not tokens_first(full)[1]
    mixed = token_rows([0, 101, 7], [0, 1, 1])
    mixed[-1] = token_rows([101, 7, 0], [1, 1, 0])[0]
    assert not tokens_first(mixed)[1]  # in all samples or none


def with_front(early: bool = False, side: str = "auto") -> tuple[dict, list[str]]:
    """Tokens, audio and vision of one axis, padded at the front."""
    steps = np.tile([0, 0, 1, 2, 3], (N, 1))
    arrays = without("transcript", "audio_length") | {
        "text_bert": token_rows([0, 0, 101, 7, 102], [0, 0, 1, 1, 1]),
        "audio": np.repeat(steps[:, :, None], 2, axis=2).astype(np.float32),
        "vision": np.repeat(steps[:, :, None], 3, axis=2).astype(np.float32),
    }
    arrays["audio"][:, 2] = arrays["vision"][:, 2] = 0  # nothing for [CLS]
    arrays["vision"][0, 3] = 0
    if early:
        arrays["audio"][0, 1] = 5
    splits, notes = plain.to_splits(arrays, (-3, 3), side)
    return splits, [*notes.warnings, *notes.assumptions]


def test_tokens_are_moved_with_the_rows_beside_them():
    splits, lines = with_front()
    train = splits["train"]
    assert train.text[0, 0].tolist() == [101, 7, 102]
    assert train.audio[0, :, 0].tolist() == [0, 2, 3]
    assert train.vision[0, :, 0].tolist() == [0, 0, 3]
    assert train.audio_length.tolist() == train.text_length.tolist() == [3, 3, 3]
    assert any("tokens were padded at the front and moved" in line for line in lines)
    assert not any("first token" in line for line in lines)
    splits, lines = with_front(early=True)
    assert splits["train"].audio[0, :, 0].tolist() == [5, 0, 2, 3]
    told = "text: in 1 samples audio or vision begins before the first token"
    assert any(told in line for line in lines)


@pytest.mark.parametrize("side", ["back", "as_stored"])
def test_rows_that_stay_while_tokens_are_moved_are_counted(side):
    splits, lines = with_front(side=side)
    assert splits["train"].text[0, 0].tolist() == [101, 7, 102]
    assert splits["train"].audio[0, :, 0].tolist() == [0, 0, 0, 2, 3]
    told = "text: in 6 samples audio or vision begins before the first token"
    assert any(told in line for line in lines)


def test_what_is_taken_to_be_aligned_is_said():
    def said(vision: list[list[int]]) -> str:
        arrays = without("audio_length", "transcript") | {
            "text": sequence([[1, 2]] * N)
        }
        audio = sequence([[1, 2]] * N)
        return told(base=arrays, audio=audio, vision=sequence(vision))

    taken = "text, audio, vision: as many steps each, so taken to be aligned"
    assert taken in said([[1, 2]] * N) and "of its own" not in said([[1, 2]] * N)
    some = said([[0, 2], [0, 0], *[[1, 2]] * (N - 2)])
    assert "in 1 of 6 samples one of them begins or ends with zeros of its own" in some
    assert "are they aligned at all" not in some
    assert "vision: 1 samples are all zero and stay as long as the others" in some
    assert "are they aligned at all? If not, give lengths" in said([[1, 0]] * N)
    blank = said([[0, 0]] * N)
    assert "of its own" not in blank and "6 samples are all zero and stay" in blank
    assert taken not in told()
    text = sequence([[1, 2, 3]] * N)
    line = told(
        base=without("audio_length", "transcript") | {"text": text},
        audio=sequence([[1, 2]] * N),
        vision=sequence([[1, 0]] * N),
    )
    assert "vision: as many steps each, but in most samples their contents" in line
    elsewhere = token_rows([101, 0], [1, 0])
    arrays = without("audio_length", "transcript") | {"text_bert": elsewhere}
    line = told(
        base=arrays, audio=sequence([[0, 1]] * N), vision=sequence([[0, 1]] * N)
    )
    assert "as many tokens as there are steps of features, but in most" in line


def settled_audio(audio_length: list, side: str = "auto", blank: bool = True) -> tuple:
    """Return lengths and warnings of the small file, its first clip without audio."""
    arrays = small() | {"audio_length": np.array(audio_length)}
    if blank:
        arrays["audio"][0] = 0
    splits, notes = plain.to_splits(arrays, (-3, 3), side)
    lengths = [n for s in splits.values() for n in present(s.audio_length).tolist()]
    return lengths, " | ".join(notes.warnings)


@pytest.mark.parametrize("side", ["auto", "front", "back", "as_stored"])
@pytest.mark.parametrize("kind", [int, float])
def test_lengths_of_0_are_a_step_of_zeros(side, kind):
    lengths, warnings = settled_audio([kind(n) for n in (0, 2, 3, 4, 2, 3)], side)
    assert lengths == [1, 2, 3, 4, 2, 3]
    assert "audio: 1 lengths of 0 became 1, a step of zeros" in warnings


def test_as_stored_takes_lengths_that_cannot_be():
    given = [0, 2, 3, 9, 2, 40]
    lengths, warnings = settled_audio(given, "as_stored", blank=False)
    assert lengths == [1, 2, 3, 4, 2, 4]
    assert "audio: 2 lengths lie beyond the array and became its 4 steps" in warnings
    assert "audio: 1 lengths of 0 became 1" in warnings
    for wrong in ([-1, 2, 3, 4, 2, 3], [1.5, 2, 3, 4, 2, 3], [np.nan, 2, 3, 4, 2, 3]):
        with pytest.raises(UserError, match="'audio_length' of sample 'a_1' is"):
            settled_audio(wrong, "as_stored")


@pytest.mark.parametrize("modality", ["text", "audio", "vision"])
def test_lengths_of_every_modality_are_checked(modality):
    arrays = without("transcript", "audio", "audio_length", "vision")
    arrays |= {modality: sequence([[1, 2, 3]] * N)}
    arrays[f"{modality}_length"] = np.array([1, 2, 3, 3, 2, 7])
    with pytest.raises(UserError, match=f"'{modality}_length' of sample 'd_2' is 7"):
        plain.to_splits(arrays, (-3, 3))
    splits, _ = plain.to_splits(arrays, (-3, 3), "as_stored")
    assert getattr(splits["test"], f"{modality}_length").tolist() == [2, 3]


def test_lengths_of_0_that_front_padding_contradicts_are_recomputed():
    arrays = small() | {"audio": sequence([[0, 0, 1, 2]] * N)}
    arrays["audio_length"] = np.zeros(N)  # counted up to the first step of zeros
    splits, notes = plain.to_splits(arrays, (-3, 3))
    assert present(splits["train"].audio_length).tolist() == [2, 2, 2]
    assert any("6 of 6 lengths contradict" in line for line in notes.warnings)


def told(base=None, **changes: np.ndarray) -> str:
    """Return every warning and assumption of the small file with these changes."""
    arrays = small() if base is None else base
    _, notes = plain.to_splits({**arrays, **changes}, (-3, 3))
    return " | ".join((*notes.warnings, *notes.assumptions))


def test_what_looks_odd_is_said():
    assert "transcripts are empty" not in told()
    blank = small()["transcript"].copy()
    blank[1] = " "
    assert "text: 1 transcripts are empty" in told(transcript=blank)
    beyond = small()["audio"].copy()
    beyond[0, 3] = 1
    assert "audio: 1 non-zero steps lie beyond audio_length" in told(audio=beyond)
    zero = small()["vision"].copy()
    zero[4] = 0
    assert "vision: 1 samples are all zero and keep length 1" in told(vision=zero)
    wide = small()["vision"].astype(np.float64)
    assert "vision: float64 values were cast to float32" in told(vision=wide)
    assert "vision: float32" not in told()


def test_lengths_of_text_without_features_are_named():
    arrays = small() | {"text_length": np.ones(6)}
    _, notes = plain.to_splits(arrays, (-3, 3))
    assert notes.unused == ("text_length",)
    assert any("text_length is not used" in line for line in notes.assumptions)


def test_unimodal_labels_out_of_range_are_refused():
    arrays = small() | {f"label_{m}": np.ones(6) for m in ("text", "audio", "vision")}
    arrays["label_audio"] = np.array([0, 4.0, 0, 0, 0, 0])
    with pytest.raises(UserError, match="'label_audio' of sample 'a_2' is 4"):
        plain.to_splits(arrays, (-3, 3))


def test_tokens_are_cut_to_the_longest_and_cleared_behind_the_mask():
    arrays = without("transcript") | {"text_bert": tokens()}
    arrays["text_bert"][1, 0, 3:] = 9  # ids behind the mask
    arrays["text_bert"][2, :2, 3] = [5, 1]
    splits, _ = plain.to_splits(arrays, (-3, 3))
    text, length = splits["train"].text, splits["train"].text_length
    assert text is not None and length is not None
    assert text.shape == (3, 3, 4) and length.tolist() == [3, 3, 4]
    assert text[:, 0, 3].tolist() == [0, 0, 5]


def test_the_sizes_of_all_arrays_are_added_up(tmp_path, monkeypatch):
    path = tmp_path / "bomb.npz"
    array = np.zeros(1 << 18, np.uint8)
    np.savez_compressed(path, id=array, label=array, audio=array, vision=array)
    monkeypatch.setattr(checks, "_SMALL", 3 << 20)
    with pytest.raises(UserError, match="unfolds to 4 MiB"):
        plain.read_npz(path)

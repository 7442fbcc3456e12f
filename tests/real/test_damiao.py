"""The motors' wire format: the vendor's vectors, round trips, and a million frames of noise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from enpire_real import damiao
from enpire_real.damiao import SCALES, BadFrame, Feedback, Mit, Register, Scale, State
from hypothesis import given
from hypothesis import strategies as st

DM4340_AS_IN_LEROBOT = Scale(12.5, 8.0, 28.0)
VECTORS = [
    (SCALES["DM4310"], (0, 0, 0, 0, 0), "7F FF 7F F0 00 00 07 FF"),
    (SCALES["DM4340"], (0, 0, 0, 0, 0), "7F FF 7F F0 00 00 07 FF"),
    (SCALES["DM4310"], (80, 5, 20, 3, 1.25), "83 92 80 32 8F FF F8 FF"),
    (DM4340_AS_IN_LEROBOT, (80, 5, 20, 3, 1.25), "83 92 80 C2 8F FF F8 5A"),
    (SCALES["DM4310"], (10, 1.5, -90, -30, -2), "6F E9 7D B0 51 4C C6 66"),
    (DM4340_AS_IN_LEROBOT, (10, 1.5, -90, -30, -2), "6F E9 77 90 51 4C C7 6D"),
]


@pytest.mark.parametrize(("scale", "command", "expected"), VECTORS)
def test_commands_match_the_vectors_of_other_drivers(scale: Scale, command: tuple, expected: str) -> None:
    kp, kd, degrees, degrees_per_second, torque = command
    mit = Mit(math.radians(degrees), math.radians(degrees_per_second), kp, kd, torque)
    assert damiao.pack_command(scale, mit) == bytes.fromhex(expected)


finite = st.floats(-1e6, 1e6)


@given(finite, finite, finite, finite, finite, st.sampled_from(sorted(SCALES)))
def test_a_command_survives_the_wire_within_its_resolution(q, dq, kp, kd, tau, model) -> None:
    scale = SCALES[model]
    told = damiao.unpack_command(scale, damiao.pack_command(scale, Mit(q, dq, kp, kd, tau)))
    ranges = [(scale.p_max, -scale.p_max, 65535), (scale.v_max, -scale.v_max, 4095), (500, 0, 4095), (5, 0, 4095)]
    ranges.append((scale.t_max, -scale.t_max, 4095))
    for sent, got, (high, low, steps) in zip((q, dq, kp, kd, tau), told, ranges, strict=True):
        wanted = min(max(sent, low), high)
        assert low <= got <= high
        assert -1e-9 <= wanted - got <= (high - low) / steps * 1.001  # truncated, so never above what was meant


def test_infinities_saturate_and_nan_is_refused() -> None:
    scale = SCALES["DM4310"]
    assert damiao.unpack_command(scale, damiao.pack_command(scale, Mit(tau=math.inf))).tau == scale.t_max
    for k in range(5):
        with pytest.raises(ValueError, match="NaN"):
            damiao.pack_command(scale, Mit(*(math.nan if i == k else 0.0 for i in range(5))))


@given(
    st.sampled_from(list(State)), st.floats(-12, 12), st.floats(-9, 9), st.floats(-27, 27), st.integers(0, 255),
    st.integers(0, 255),
)  # fmt: skip
def test_feedback_survives_the_wire(state, q, dq, tau, mos, rotor) -> None:
    scale = SCALES["DM4340"]
    told = damiao.unpack_feedback(scale, 3, damiao.pack_feedback(scale, 3, Feedback(state, q, dq, tau, mos, rotor)))
    assert (told.state, told.mos_c, told.rotor_c) == (state, mos, rotor)
    assert told.q == pytest.approx(q, abs=25 / 65535)
    assert told.dq == pytest.approx(dq, abs=20 / 4095)
    assert told.tau == pytest.approx(tau, abs=56 / 4095)


def test_a_million_random_frames_are_refused_or_within_range() -> None:
    scale = SCALES["DM4340"]
    noise = np.random.default_rng(1).integers(0, 256, (1_000_000, 8), dtype=np.uint8).tobytes()
    refused = 0
    for k in range(0, len(noise), 8):
        frame = noise[k : k + 8]
        try:
            told = damiao.unpack_feedback(scale, 5, frame)
        except BadFrame:
            refused += 1
            continue
        assert frame[0] & 0xF == 5
        assert abs(told.q) <= 12.5
        assert abs(told.dq) <= 10
        assert abs(told.tau) <= 28
    # 15 of 16 are another motor's, 7 of 16 name no state
    assert refused == pytest.approx(1_000_000 * (1 - 9 / 256), rel=0.01)


@pytest.mark.parametrize("length", [0, 1, 7, 9])
def test_frames_of_another_length_are_refused(length: int) -> None:
    with pytest.raises(BadFrame, match="8 bytes"):
        damiao.unpack_feedback(SCALES["DM4310"], 1, bytes(length))
    with pytest.raises(BadFrame, match="8 bytes"):
        damiao.unpack_command(SCALES["DM4310"], bytes(length))


def test_registers_survive_the_wire_and_are_told_apart() -> None:
    reply = damiao.pack_register_reply(4, 0x33, Register.T_MAX, 28.0)
    assert damiao.unpack_register_reply(4, Register.T_MAX, reply) == 28.0
    assert damiao.unpack_register_reply(4, Register.V_MAX, reply) is None
    assert damiao.unpack_register_reply(5, Register.T_MAX, reply) is None
    reply = damiao.pack_register_reply(4, 0x55, Register.TIMEOUT, 2000)
    assert damiao.unpack_register_reply(4, Register.TIMEOUT, reply) == 2000

"""The same policy as one declared network (ONNX): what regimes that learn weights take for an answer, see `station.networks`.

The graph holds normalisation, history and network; what was seen and done is its memory:

    seen   (reach, numbers) what was seen before, normalised, the newest last
    done   (reach, a) what was done with it
    begun  1 from the second step on: in the first one what is seen stands for all that was before
    plan   (steps, a) of an answer that lasts for several steps: what is left of it, the next action first
    moving (a) what the controller did last, where it follows late
    wait   (steps - 1) a 1 that moves one place at each of these steps: a new plan is taken where there is none

An average over what was done is a multiplication with a constant matrix, and so are the choice of the rows that `features` looks back at and
the repetition of actions that are held. The network is evaluated at each step, and 1 or 0 times its answer taken. Of a mixture the
components' means are weighed by a sharp softmax of their scores, here as in `bundle.policy`: nothing branches.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from autoenvbench.learning.bundle.policy import SHARPNESS
from autoenvbench.station.codec import leaves

_OPSET = 17


def declared_network(
    about: Mapping[str, Any], weights: Mapping[str, np.ndarray], space: spaces.Space[Any], *, explore: bool = False
) -> bytes:
    """The ONNX file of what `export.pack` made, for observations of this space.

    Args:
        explore: of an actor of `networks.SquashedGaussian`: what it draws, by the input `noise` of which the policy host makes the numbers;
            otherwise its mean.
    """
    from onnx import TensorProto, checker, helper, numpy_helper

    features, size = about["features"], weights["features.mean"].size
    nodes: list[Any] = []
    constants: dict[str, np.ndarray] = {}

    def add(operator: str, *inputs: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(operator, list(inputs), [name := f"v{len(nodes)}"], **attributes))
        return name

    def constant(value: Any, kind: Any = np.float32) -> str:
        constants[name := f"c{len(constants)}"] = np.asarray(value, kind)
        return name

    # What is seen: vectors end to end, normalised.
    images, keys = features["images"], features["keys"]
    dictionary = bool(keys) or any(images)
    inputs = [f"observation.{key}" for key in keys] if dictionary else [] if images else ["observation"]
    seen = add("Concat", *inputs, axis=1) if len(inputs) > 1 else inputs[0] if inputs else ""
    parts: list[str] = []
    memory: list[tuple[str, tuple[int, ...], str]] = []  # name, shape, its next value
    if seen:
        scaled = add("Div", add("Sub", seen, constant(weights["features.mean"])), constant(weights["features.std"]))
        now = add("Clip", scaled, constant(-10.0), constant(10.0))
        parts.append(now)
    reach, actions = features["history"] * features["stride"], features["action_size"]
    if reach and seen:
        # Before the first step, what is seen now stands for what was seen, and nothing was done.
        before = add(
            "Add",
            "seen",
            add("Mul", add("Sub", constant(1.0), "begun"), add("Unsqueeze", now, constant([1], np.int64))),
        )
        rows = np.zeros((features["history"], reach), np.float32)
        means = np.zeros((features["history"], reach), np.float32)
        for k in range(features["history"]):
            end = reach - k * features["stride"]
            rows[k, end - features["stride"]] = 1.0
            means[k, end - features["stride"] : end] = 1.0 / features["stride"]
        parts.append(add("Flatten", add("MatMul", constant(rows), before)))
        if features["actions"]:
            parts.append(add("Flatten", add("MatMul", constant(means), "done")))
    # Images, through their encoders.
    for key in images:
        name = f"observation.{key}" if key else "observation"
        image = add("Transpose", add("Cast", name, to=TensorProto.FLOAT), perm=[0, 3, 1, 2])
        parts.append(_layers(about, weights, f"image.{key}", add("Div", image, constant(255.0)), add, constant))
    x = add("Concat", *parts, axis=1) if len(parts) > 1 else parts[0]

    def part(x: str, start: int, end: int) -> str:
        """What stands at these places of axis 1."""
        return add("Slice", x, constant([start], np.int64), constant([end], np.int64), constant([1], np.int64))

    length, residual = about["chunk"] * actions, about["residual"]

    def answered(name: str, x: str, kind: Mapping[str, Any], *, drawn: bool = False) -> str:
        """What a network answers: a chunk of actions, or one."""
        out = _layers(about, weights, name, x, add, constant)
        if kind["head"] == "mixture":
            scores = add("Mul", part(out, 0, n := kind["components"]), constant(SHARPNESS))
            centres = add("Reshape", part(out, n, n + n * length), constant([1, n, length], np.int64))
            shares = add("Unsqueeze", add("Softmax", scores, axis=1), constant([1], np.int64))
            answer = add("Squeeze", add("MatMul", shares, centres), constant([1], np.int64))
        else:
            answer = part(out, 0, length)
        if drawn:
            spread = add("Add", add("Mul", add("Tanh", part(out, length, 2 * length)), constant(3.5)), constant(-1.5))
            answer = add("Add", answer, add("Mul", add("Exp", spread), "noise"))
        return add("Tanh", answer) if kind["head"] == "tanh" else add("Clip", answer, constant(-1.0), constant(1.0))

    if residual is None:
        answer = answered("actor", x, about, drawn=explore)
    else:  # the base acts, and the actor, which is told how, corrects it
        base = answered("base", x, residual)
        added = answered("actor", add("Concat", x, base, axis=1), about, drawn=explore)
        corrected = add("Add", base, add("Mul", added, constant(residual["scale"])))
        answer = add("Clip", corrected, constant(-1.0), constant(1.0))
    # What is done now: its first action, or the next one of an earlier answer.
    if (steps := about["execute"] * about["hold"]) == 1:
        action = part(answer, 0, actions)
    else:
        chunk = add("Reshape", answer, constant([1, about["chunk"], actions], np.int64))
        held = np.repeat(np.eye(about["execute"], about["chunk"]), about["hold"], axis=0)
        taken = add("Sub", constant([[1.0]]), add("ReduceSum", "wait", constant([1], np.int64)))
        kept = add("Mul", "plan", add("Unsqueeze", add("Sub", constant(1.0), taken), constant([2], np.int64)))
        fresh = add("Mul", add("MatMul", constant(held), chunk), add("Unsqueeze", taken, constant([2], np.int64)))
        plan = add("Add", kept, fresh)
        action = add("Squeeze", part(plan, 0, 1), constant([1], np.int64))
        rest = add("Concat", part(plan, 1, steps), constant(np.zeros((1, 1, actions))), axis=1)
        waited = add("Concat", taken, part("wait", 0, steps - 2), axis=1) if steps > 2 else taken
        memory = [("plan", (1, steps, actions), rest), ("wait", (1, steps - 1), waited)]
    command, done = action, action
    if lead := features["lead"]:  # the controller runs behind what it is told
        change = add("Mul", add("Sub", action, "moving"), constant(lead))
        command = add("Clip", add("Add", action, change), constant(-1.0), constant(1.0))
        both = add("Add", command, add("Mul", "moving", constant(lead)))
        done = add("Div", both, constant(1 + lead))
        memory.append(("moving", (1, actions), done))
    half = (weights["action.high"] - weights["action.low"]) / 2
    nodes.append(
        helper.make_node(
            "Add", [add("Mul", command, constant(half)), constant(weights["action.low"] + half)], ["action"]
        )
    )

    if reach and seen:

        def pushed(old: str, new: str) -> str:
            return add("Concat", part(old, 1, reach), add("Unsqueeze", new, constant([1], np.int64)), axis=1)

        memory += [
            ("seen", (1, reach, size), pushed(before, now)), ("done", (1, reach, actions), pushed("done", done)),
            ("begun", (1, 1, 1), constant(np.ones((1, 1, 1)))),
        ]  # fmt: skip
    nodes += [helper.make_node("Identity", [value], [f"{name}.next"]) for name, _, value in memory]

    def tensor(name: str, shape: tuple[int, ...], kind: int = TensorProto.FLOAT) -> Any:
        return helper.make_tensor_value_info(name, kind, shape)

    parts_of = {".".join(path): box for path, box in leaves(space)}
    told = [
        tensor(
            f"observation.{key}" if key else "observation",
            (1, *parts_of[key].shape),
            TensorProto.UINT8 if key in images else TensorProto.FLOAT,
        )
        for key in (*(keys or ([] if images else [""])), *images)
    ]
    if explore:
        told.append(tensor("noise", (1, length)))
    graph = helper.make_graph(
        nodes, "policy", [*told, *(tensor(name, shape) for name, shape, _ in memory)],
        [tensor("action", (1, actions)), *(tensor(f"{name}.next", shape) for name, shape, _ in memory)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)
    checker.check_model(model)
    return bytes(model.SerializeToString())


def _layers(
    about: Mapping[str, Any], weights: Mapping[str, np.ndarray], name: str, x: str, add: Any, constant: Any
) -> str:
    """The nodes of a network of `policy.json`, (1, ...) -> (1, ...)."""
    for k, layer in enumerate(about["networks"][name]):
        weight, bias = (weights.get(f"{name}.{k}.{part}") for part in ("weight", "bias"))
        if layer["kind"] == "linear":
            x = add("Gemm", x, constant(weight), constant(bias), transB=1)
        elif layer["kind"] == "layer_norm":
            x = add("LayerNormalization", x, constant(weight), constant(bias), axis=-1, epsilon=layer["epsilon"])
        elif layer["kind"] == "convolution":
            x = add("Conv", x, constant(weight), constant(bias), strides=[layer["stride"]] * 2)
        else:
            x = add({"relu": "Relu", "tanh": "Tanh", "flatten": "Flatten"}[layer["kind"]], x)
    return x

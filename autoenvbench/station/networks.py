"""Declared networks: answers that are weights and nothing else, run by the policy host itself. None of their maker's code is executed.

In the regimes that learn weights (`record.regimes.GRADIENT`) the station runs the file NETWORK:

| name | type, shape | |
|---|---|---|
| input `observation`, or `observation.KEY` (`observation.pixels.wrist`) for each part that is used | float32 (uint8 for an image), (1, ...) of the space | what is seen |
| input `X`, any other name, and output `X.next` | float32, equal and fixed shapes | memory: zeros at an episode's start, then what the last step put out |
| input `noise` | float32, (1, k), k <= 1024 | standard normal numbers, drawn anew at each step from the seed of the episode |
| output `action` | float32, (1, n) | in the units of the action space, which the environment clips to |

A network that explores has its noise from the host: it holds no operator that draws. So normalisation and history are in the graph, as layers or as memory, and so is whatever counts the steps of a chunk of actions.

A script could be written down as a graph, too. Operators that branch, compare, count, round or loop are therefore refused (`OPERATORS` is what
there is), as are custom operators, functions, nested graphs, and files beside the one. What is left can be shaped by hand only as weights can.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from autoenvbench.record.regimes import NETWORK
from autoenvbench.station.codec import leaves

#: What a network may be made of, of ONNX's own operators.
OPERATORS = frozenset(
    [
        "Abs",
        "Add",
        "AveragePool",
        "BatchNormalization",
        "Cast",
        "Clip",
        "Concat",
        "Constant",
        "ConstantOfShape",
        "Conv",
        "ConvTranspose",
        "Cos",
        "Div",
        "Dropout",
        "Einsum",
        "Elu",
        "Erf",
        "Exp",
        "Expand",
        "Flatten",
        "GRU",
        "Gather",
        "Gelu",
        "Gemm",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "GroupNormalization",
        "HardSigmoid",
        "HardSwish",
        "Identity",
        "InstanceNormalization",
        "LSTM",
        "LayerNormalization",
        "LeakyRelu",
        "Log",
        "LogSoftmax",
        "MatMul",
        "Max",
        "MaxPool",
        "Min",
        "Mish",
        "Mul",
        "Neg",
        "PRelu",
        "Pad",
        "Pow",
        "RNN",
        "Reciprocal",
        "ReduceL2",
        "ReduceMax",
        "ReduceMean",
        "ReduceMin",
        "ReduceSum",
        "Relu",
        "Reshape",
        "Resize",
        "RMSNormalization",
        "Selu",
        "Shape",
        "Sigmoid",
        "Sin",
        "Slice",
        "Softmax",
        "Softplus",
        "Softsign",
        "Split",
        "Sqrt",
        "Squeeze",
        "Sub",
        "Sum",
        "Swish",
        "Tanh",
        "Tile",
        "Transpose",
        "Unsqueeze",
    ]
)
OBSERVATION, ACTION, NEXT, NOISE = "observation", "action", ".next", "noise"
MAX_NOISE = 1024


class NetworkError(ValueError):
    """A file that is no network as described above; the message says what is wrong with it and what was expected."""


class NetworkPolicy:
    """A declared network as a policy (see `policy_host`).

    Args:
        source: the ONNX file, or what one holds.
        observation_space, action_space: of the environment.

    Raises:
        NetworkError: it is none, or fits other spaces.
    """

    def __init__(self, source: Path | bytes, observation_space: spaces.Space[Any], action_space: spaces.Box) -> None:
        model = _checked(source)
        self._dtypes = _inputs(model, observation_space, action_space)
        self._session = _session(model)
        self._shapes = {i.name: tuple(i.shape) for i in self._session.get_inputs() if i.name not in self._dtypes}
        self._noise = self._shapes.pop(NOISE, None)
        self._outputs = [ACTION, *(name + NEXT for name in self._shapes)]
        self._memory: dict[str, np.ndarray] = {}
        self.reset(None)

    def reset(self, observation: object, seed: int = 0) -> None:
        """Forget the last episode; the noise of this one follows from its seed."""
        self._rng = np.random.default_rng(seed)
        self._memory = {name: np.zeros(shape, np.float32) for name, shape in self._shapes.items()}

    def act(self, observation: Any) -> np.ndarray:
        """The action (n,) float32 for one control period."""
        fed = {
            name: np.asarray(functools.reduce(operator.getitem, name.split(".")[1:], observation), dtype)[None]
            for name, dtype in self._dtypes.items()
        }
        if self._noise is not None:
            fed[NOISE] = self._rng.standard_normal(self._noise, np.float32)
        action, *memory = self._session.run(self._outputs, fed | self._memory)
        self._memory = dict(zip(self._shapes, memory, strict=True))
        return np.asarray(action[0])


def load(observation_space: spaces.Space[Any], action_space: spaces.Box) -> NetworkPolicy:
    """The network of the checkout that is the working directory. Raises NetworkError."""
    return NetworkPolicy(Path(NETWORK), observation_space, action_space)


def _checked(source: Path | bytes) -> Any:
    """The model, of allowed parts only. Raises NetworkError."""
    import onnx

    path = source if isinstance(source, Path) else "the network that was sent"
    if isinstance(source, Path) and not source.is_file():
        raise NetworkError(f"there is no {path}; in this regime the answer is a network in that file")
    try:
        model = (
            onnx.load_model_from_string(source)
            if isinstance(source, bytes)
            else onnx.load(source, load_external_data=False)
        )
        onnx.checker.check_model(model)
    except Exception as error:  # of protobuf, of the checker: whatever a file may provoke
        raise NetworkError(f"{path} is no ONNX model: {str(error).splitlines()[0][:300]}") from None
    if model.functions or model.training_info:
        raise NetworkError(f"{path} holds functions or training graphs; expected one plain graph")
    if any(entry.domain not in ("", "ai.onnx") for entry in model.opset_import):
        raise NetworkError(
            f"{path} uses operators of its own; expected ONNX's, of these: {', '.join(sorted(OPERATORS))}"
        )
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in _tensors(model)):
        raise NetworkError(
            f"{path} keeps weights in other files; expected all of them inside (onnx.save without external data)"
        )
    for node in model.graph.node:
        if node.op_type not in OPERATORS or node.domain not in ("", "ai.onnx"):
            raise NetworkError(
                f"{path} has an operator {node.op_type!r}, which can branch, compare, round or draw; expected a network, of these: "
                f"{', '.join(sorted(OPERATORS))}"
            )
        if node.op_type == "Cast" and any(a.name == "to" and a.i != onnx.TensorProto.FLOAT for a in node.attribute):
            raise NetworkError(f"{path} casts to another type than float32, which rounds; expected float32 throughout")
        if any(a.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for a in node.attribute):
            raise NetworkError(f"{path} has a graph inside {node.op_type}; expected one plain graph")
    return model


def _tensors(model: Any) -> Iterator[Any]:
    yield from model.graph.initializer
    for node in model.graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)


def _inputs(model: Any, observation_space: spaces.Space[Any], action_space: spaces.Box) -> dict[str, type[np.generic]]:
    """The inputs that are observations, and what they are fed as; all shapes are checked. Raises NetworkError."""
    import onnx

    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = {value.name: _shape(value) for value in model.graph.input if value.name not in weights}
    outputs = {value.name: _shape(value) for value in model.graph.output}
    types = {value.name: value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)}
    known = {".".join((OBSERVATION, *path)): box for path, box in leaves(observation_space)}
    seen: dict[str, type[np.generic]] = {}
    for name, shape in inputs.items():
        space = known.get(name)
        if name == NOISE:
            if (
                types[name] != onnx.TensorProto.FLOAT
                or len(shape) != 2
                or shape[0] != 1
                or not 0 < shape[1] <= MAX_NOISE
            ):
                raise NetworkError(f"the input {name!r} {shape} is not float32 (1, k) with 1 <= k <= {MAX_NOISE}")
            continue
        if space is None:
            if outputs.get(name + NEXT) != shape or types[name] != onnx.TensorProto.FLOAT:
                raise NetworkError(
                    f"the input {name!r} {shape} is neither an observation ({', '.join(known)}) nor memory, which needs an output "
                    f"{name + NEXT!r} of the same shape, both float32"
                )
            continue
        if shape != (1, *space.shape):
            raise NetworkError(f"the input {name!r} has shape {shape}; expected {(1, *space.shape)}")
        if types[name] == onnx.TensorProto.UINT8 and space.dtype == np.uint8:
            seen[name] = np.uint8
        elif types[name] == onnx.TensorProto.FLOAT:
            seen[name] = np.float32
        else:
            raise NetworkError(f"the input {name!r} is neither float32 nor, for an image, uint8")
    if not seen:
        raise NetworkError(f"the network sees nothing; expected an input of these: {', '.join(known)}")
    if outputs.get(ACTION) != (1, *action_space.shape) or types.get(ACTION) != onnx.TensorProto.FLOAT:
        raise NetworkError(
            f"the output {ACTION!r} has shape {outputs.get(ACTION)}; expected float32 {(1, *action_space.shape)}"
        )
    return seen


def _shape(value: Any) -> tuple[int, ...]:
    """Of an input or output; 0 for a dimension that is left open, which fits nothing."""
    return tuple(int(d.dim_value) for d in value.type.tensor_type.shape.dim)


def _session(model: Any) -> Any:
    """The network, loaded, on one thread. Raises NetworkError."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what is wrong is said once, below
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own hierarchy, and memory
        raise NetworkError(f"the network cannot be loaded: {str(error).splitlines()[0][:300]}") from None

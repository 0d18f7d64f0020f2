"""The pocket face detector: an ONNX graph in SCRFD's layout (arXiv:2105.04714), calculated, not trained.

It finds patches of the colour of skin and gives their extents, so that boxes are exact for what tests and
demonstrations draw. Distances to the ends of a patch come from running maxima, which max pooling gives.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE = 640  # pixels that it looks at
STRIDE = 8  # the finest of SCRFD's three, and the only one that finds anything here
CELLS = SIZE // STRIDE
REDDER, BRIGHTER = 0.15, 0.1  # than blue, and than grey, in levels of [-1, 1]
SMALLEST = 3.0  # cells
SHARPNESS = 8.0  # how fast scores fall off from the middle of a patch
ANCHORS = 2
OUTPUTS = {"score": 1, "box": 4, "landmarks": 10}
LANDMARKS = ((-0.2, -0.15), (0.2, -0.15), (0.0, 0.05), (-0.15, 0.25), (0.15, 0.25))  # in sides of the box


class Graph:
    """Nodes written down one by one; each call gives the name of its result."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def __call__(self, operation: str, *inputs: str | float | np.ndarray, **attributes) -> str:
        names = [value if isinstance(value, str) else self.constant(value) for value in inputs]
        result = f"{operation.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operation, names, [result], **attributes))
        return result

    def constant(self, value: float | np.ndarray) -> str:
        array = np.asarray(value)
        array = array.astype(np.int64 if array.dtype.kind == "i" else np.float32)
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def rename(self, name: str, new: str) -> None:
        self.nodes.append(helper.make_node("Identity", [name], [new]))


def skin(graph: Graph) -> str:
    """(1, 1, cells, cells): 1 where most of a cell has the colour, else 0."""
    red, _, blue = (
        graph("Slice", "input", np.array([i]), np.array([i + 1]), np.array([1])) for i in range(3)
    )
    warm = graph("Greater", graph("Sub", red, blue), REDDER)
    pixels = graph("Cast", graph("And", warm, graph("Greater", red, BRIGHTER)), to=TensorProto.FLOAT)
    share = graph("AveragePool", pixels, kernel_shape=[STRIDE] * 2, strides=[STRIDE] * 2)
    return graph("Cast", graph("Greater", share, 0.5), to=TensorProto.FLOAT)


def nearest_gaps(graph: Graph, patch: str, axis: int) -> tuple[str, str]:
    """For each cell, the indexes of the last cell before it and the first after it that are of none."""
    shape = [1, 1, 1, 1]
    shape[axis] = CELLS
    index = np.arange(CELLS, dtype=np.float32).reshape(shape)
    window, before, after = [1, 1], [0, 0, 0, 0], [0, 0, 0, 0]
    window[axis - 2], before[axis - 2], after[axis] = CELLS, CELLS - 1, CELLS - 1

    inside = graph("Greater", patch, 0.5)
    last = graph("Where", inside, -1.0, index)
    first = graph("Where", inside, float(-CELLS), -index)
    return (
        graph("MaxPool", last, kernel_shape=window, pads=before),
        graph("Neg", graph("MaxPool", first, kernel_shape=window, pads=after)),
    )


def distances(graph: Graph, patch: str) -> list[str]:
    """From a cell's corner to the left, upper, right and lower end of its patch, in cells."""
    ends = []
    for axis in (3, 2):
        index = np.arange(CELLS, dtype=np.float32).reshape([CELLS if i == axis else 1 for i in range(4)])
        last, first = nearest_gaps(graph, patch, axis)
        ends.append((graph("Sub", index - 1, last), graph("Sub", first, index)))
    (left, right), (upper, lower) = ends
    return [left, upper, right, lower]


def score(graph: Graph, patch: str, sides: list[str]) -> tuple[str, str, str]:
    """Highest in the middle of a patch, none where it is small; and the patch's width and height."""
    left, upper, right, lower = sides
    width, height = graph("Add", left, right), graph("Add", upper, lower)
    away = [
        graph("Abs", graph("Add", graph("Sub", start, end), 1.0))
        for start, end in ((left, right), (upper, lower))
    ]
    relative = graph("Div", graph("Add", *away), graph("Add", width, height))
    likely = graph("Exp", graph("Mul", relative, -SHARPNESS / 2))
    large = graph("Cast", graph("Greater", graph("Min", width, height), SMALLEST - 0.5), to=TensorProto.FLOAT)
    return graph("Mul", graph("Mul", likely, 0.95), graph("Mul", patch, large)), width, height


def landmarks(graph: Graph, sides: list[str], width: str, height: str) -> list[str]:
    """x and y of five points, seen from a cell's corner, in cells."""
    left, upper, right, lower = sides
    middle_x, middle_y = (
        graph("Mul", graph("Sub", end, start), 0.5) for start, end in ((left, right), (upper, lower))
    )
    points = []
    for x, y in LANDMARKS:
        points.append(graph("Add", middle_x, graph("Mul", width, x)))
        points.append(graph("Add", middle_y, graph("Mul", height, y)))
    return points


def rows(graph: Graph, maps: list[str]) -> str:
    """Maps (1, 1, cells, cells) to (cells * anchors, maps); the second anchor of a cell finds nothing."""
    stacked = graph("Transpose", graph("Concat", *maps, axis=1), perm=[0, 2, 3, 1])
    flat = graph("Reshape", stacked, np.array([CELLS**2, 1, len(maps)]))
    both = graph("Concat", flat, graph("Mul", flat, 0.0), axis=1)
    return graph("Reshape", both, np.array([CELLS**2 * ANCHORS, len(maps)]))


def detector() -> onnx.ModelProto:
    """The whole model: an image (1, 3, 640, 640), RGB in [-1, 1], to nine tables."""
    graph = Graph()
    patch = skin(graph)
    sides = distances(graph, patch)
    likely, width, height = score(graph, patch, sides)
    found = {"score": [likely], "box": sides, "landmarks": landmarks(graph, sides, width, height)}

    outputs = []
    for kind, columns in OUTPUTS.items():
        for stride in (STRIDE, 2 * STRIDE, 4 * STRIDE):
            name, count = f"{kind}_{stride}", (SIZE // stride) ** 2 * ANCHORS
            if stride == STRIDE:
                graph.rename(rows(graph, found[kind]), name)
            else:
                nothing = helper.make_tensor("nothing", TensorProto.FLOAT, [1], [0.0])
                shape = graph.constant(np.array([count, columns]))
                graph.nodes.append(helper.make_node("ConstantOfShape", [shape], [name], value=nothing))
            outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [count, columns]))

    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, SIZE, SIZE])
    made = helper.make_graph(graph.nodes, "pocket face detector", [image], outputs, graph.constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model

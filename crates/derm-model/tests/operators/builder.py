"""Small ONNX models of one operator each, with onnxruntime's answers: what `cases_*.py` are written with."""

import base64
import json

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

NEWEST = 25
OLDEST = 7
SHAPE = [1, 3, 6, 6]
SUMS = 8
CASES = []


def picture():
    """The input: the values of derm_zoo::operator_picture."""
    numbers = np.arange(np.prod(SHAPE))
    return (((numbers * 37 + 11) % 109) / 54.0 - 1.0).astype(np.float32).reshape(SHAPE)


class Builder:
    """A graph being written: `g("Conv", "x", g.w(kernels), pads=[1, 1, 1, 1])` returns a name."""

    def __init__(self, opset, seed):
        self.opset, self.nodes, self.constants = opset, [], []
        self.random = np.random.default_rng(seed)
        self.functions, self.value_types = [], {}

    def w(self, values):
        name = f"w{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def f(self, *values):
        return self.w(np.array(values, np.float32))

    def i(self, *values):
        return self.w(np.array(values, np.int64))

    def s(self, value, dtype=np.float32):
        return self.w(np.array(value, dtype))

    def r(self, *shape, scale=1.0):
        return self.w((self.random.uniform(-1, 1, shape) * scale).astype(np.float32))

    def __call__(self, operator, *inputs, outs=1, domain="", **attributes):
        number = len(self.nodes)
        names = [f"v{number}_{k}" for k in range(outs)]
        node = helper.make_node(operator, list(inputs), names, name=f"{operator}_{number}", domain=domain, **attributes)
        self.nodes.append(node)
        return names[0] if outs == 1 else names

    def reshape(self, value, *shape):
        return self("Reshape", value, self.i(*shape))

    def cast(self, value, to):
        return self("Cast", value, to=to)

    def unsqueeze(self, value, *axes):
        if self.opset < 13:
            return self("Unsqueeze", value, axes=list(axes))
        return self("Unsqueeze", value, self.i(*axes))

    def squeeze(self, value, *axes):
        if self.opset < 13:
            return self("Squeeze", value, axes=list(axes))
        return self("Squeeze", value, self.i(*axes))

    def model(self, result):
        flat = self.reshape(result, 1, -1)
        # A classifier has two scores at least.
        flat = self("Concat", flat, self.w(np.array([[0.25]], np.float32)), axis=1)
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)]
        outputs = [helper.make_tensor_value_info(flat, TensorProto.FLOAT, None)]
        graph = helper.make_graph(self.nodes, "g", inputs, outputs, self.constants)
        imports = [helper.make_opsetid("", self.opset)]
        domains = {node.domain for node in self.nodes if node.domain}
        imports += [helper.make_opsetid(domain, 1) for domain in sorted(domains)]
        model = helper.make_model(graph, opset_imports=imports, functions=self.functions)
        model.ir_version = 8 if self.opset <= 18 else 10
        return model


def case(name, operator, build, lo=OLDEST, hi=NEWEST, domain=""):
    """Registers a case; it is written once for each version of the operator's definition from `lo` to `hi`."""
    CASES.append((name, operator, build, lo, hi, domain))


VERSIONS = {}
for schema in onnx.defs.get_all_schemas_with_history():
    if not schema.domain:
        VERSIONS.setdefault(schema.name, set()).add(schema.since_version)


def opsets(operator, lo, hi, seen):
    """The opsets to write a case in: the oldest and the newest definition of the operator between `lo` and `hi`, and
    each that no case before was written in."""
    known = VERSIONS.get(operator)
    if not known:
        return [max(lo, 13)]
    wanted = sorted({max(version, lo) for version in known if version <= hi})
    before = seen.setdefault(operator, set())
    wanted = [opset for opset in wanted if opset in (wanted[0], wanted[-1]) or opset not in before]
    before.update(wanted)
    return wanted


def sums(values):
    """How many values there are, and weighted sums of them: what is stored of an answer."""
    places = np.arange(1, values.size + 1)
    return [values.size] + [float((values * np.sin(places * number * 0.7391)).sum()) for number in range(1, SUMS + 1)]


def value_of(attribute):
    """An attribute as the list of verified operators has it: text and whole numbers exactly, anything else as there."""
    if attribute.type == onnx.AttributeProto.STRING:
        return attribute.s.decode()
    if attribute.type == onnx.AttributeProto.INT:
        return attribute.i
    return None


def used(model):
    """Every node of the standard in a model: the opsets of its definition, and its attributes, defaults included,
    and the names of those that are there with another value than the default."""
    found = []
    opset = model.opset_import[0].version

    def visit(nodes):
        for node in nodes:
            attributes = {attribute.name: value_of(attribute) for attribute in node.attribute}
            given = set(attributes)
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.GRAPH:
                    visit(attribute.g.node)
            if node.domain or node.op_type not in VERSIONS:
                if not any(function.name == node.op_type for function in model.functions):
                    found.append([f"{node.domain}.{node.op_type}".lstrip("."), 1, NEWEST, attributes, sorted(given)])
                continue
            schema = onnx.defs.get_schema(node.op_type, opset, "")
            later = sorted(version for version in VERSIONS[node.op_type] if version > schema.since_version)
            for name, attribute in schema.attributes.items():
                if attribute.default_value.name:
                    default = value_of(attribute.default_value)
                    if attributes.setdefault(name, default) == default and default is not None:
                        given.discard(name)
            last = later[0] - 1 if later else NEWEST
            found.append([node.op_type, schema.since_version, last, attributes, sorted(given)])

    visit(model.graph.node)
    for function in model.functions:
        visit(function.node)
    return found


def answer(model):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    # Without rewriting: each operator is computed by its own kernel.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": picture()})[0]


def write(path):
    """Writes every case that onnxruntime runs, one JSON object a line; reports the others."""
    count, seen = 0, {}
    with open(path, "w") as file:
        for name, operator, build, lo, hi, domain in CASES:
            for opset in opsets(operator, lo, hi, seen) if not domain else [max(lo, 13)]:
                g = Builder(opset, abs(hash_of(name)))
                try:
                    model = g.model(build(g))
                    expected = answer(model).astype(np.float64).reshape(-1)
                    line_used = used(model)
                except Exception as error:
                    print(f"left out: {name} (opset {opset}): {str(error).splitlines()[0][:150]}")
                    continue
                if not np.isfinite(expected).all():
                    print(f"left out: {name} (opset {opset}): not finite")
                    continue
                line = {
                    "name": f"{name} (opset {opset})",
                    "operator": operator if not domain else f"{domain}.{operator}",
                    "used": line_used,
                    "expected": [float(f"{value:.9g}") for value in sums(expected)],
                    "largest": float(f"{np.abs(expected).max():.4g}"),
                    "model": base64.b64encode(model.SerializeToString()).decode(),
                }
                file.write(json.dumps(line, separators=(",", ":")) + "\n")
                count += 1
    print(f"{count} cases")


def hash_of(text):
    """A number for a name, the same in every process."""
    value = 0
    for letter in text:
        value = (value * 131 + ord(letter)) % (1 << 31)
    return value
